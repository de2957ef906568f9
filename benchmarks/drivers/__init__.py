"""A driver for each queue, which fills and works it; drivers run in the environments of the queues."""
