"""The farm on paper: the domain's policies in a discrete-event simulation. Imports domain, recipes and base alone."""
