"""`x3fleet nodes ...`. Not here: rules of nodes (`desired_state.commands.nodes`)."""
