//! Outbox of health notifications: latest status per check, batches, acknowledgement, back-off, rolling refresh
