"""A strict stand-in for the Kubernetes API server, a scheduler and a kubelet: pods run as processes of this machine."""
