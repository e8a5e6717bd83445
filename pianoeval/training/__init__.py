"""Training under nested cross-validation: nothing is selected on a reported fold."""
