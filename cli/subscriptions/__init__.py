"""`x3fleet subscriptions ...`. Not here: rules (`desired_state.commands`)."""
