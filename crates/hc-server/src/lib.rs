//! The health check server of a layer-4 load balancer
