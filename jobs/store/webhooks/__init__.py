"""Webhooks: the ends of jobs, told to the addresses that their owners have registered.

`announcements` writes a delivery for every webhook that wants to know, `deliveries` hands them to
senders and keeps the log, `endpoints` holds the webhooks themselves.
"""
