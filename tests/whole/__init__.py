"""Every room at once: the real service, the real hook, real trainings."""
