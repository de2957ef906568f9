"""How each queue is filled and worked; these run in the environments of the queues."""
