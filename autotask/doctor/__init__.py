"""Problems that keep tasks from running, and how to fix them: the checks, and the doctor that goes through them."""
