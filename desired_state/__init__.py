"""What we want: the only package that bot, admin, cli and sync write through.

Belongs here: values and rules of desired state, manifests, placement, links, the store, commands, queries.
Not here: HTTP to panels, the control loop, Telegram, web pages. Imports nothing else of ours.
"""
