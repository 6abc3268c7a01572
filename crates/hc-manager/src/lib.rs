//! Schedules health checks and keeps their state: plan, fixed-rate schedule, state machine, shards
