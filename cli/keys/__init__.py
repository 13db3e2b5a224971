"""`x3fleet keys ...`. Not here: rules of keys (`desired_state.commands.keys`)."""
