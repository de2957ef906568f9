"""What people do to tasks and schedules, for every face: each act takes one or many, and answers for each of them."""
