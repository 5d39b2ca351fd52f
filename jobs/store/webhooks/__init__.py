"""Webhooks in SQL: endpoints, outbox of deliveries, signatures.

`announcements` writes a delivery for every webhook that wants to know, `deliveries` hands them to
senders and keeps the log, `endpoints` holds the webhooks themselves.
"""
