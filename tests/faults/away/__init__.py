"""An app with a schedule for each thing that can be done with ticks that were missed."""
