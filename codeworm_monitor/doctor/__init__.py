"""The doctor: checks of all that can be wrong between CodeWorm and a notebook, each with the mend."""
