"""What the hook costs the training that it watches, beside what others cost, all in one run."""
