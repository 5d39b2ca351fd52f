"""Webhooks in SQL: endpoints, outbox of deliveries, signatures.

`outbox` writes a delivery for every subscribed webhook, `deliveries` hands them to senders and
keeps the log, `endpoints` has the registered webhooks.
"""
