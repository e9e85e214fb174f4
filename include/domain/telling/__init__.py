"""What people and systems are told: alerts, the digest, webhooks, and when a message is tried again.

Not how it is sent.
"""
