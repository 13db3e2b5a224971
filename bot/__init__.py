"""The Telegram bot. The room is reserved: nothing runs yet.

Belongs here: aiogram routers, keyboards, texts, the notifier.
Imports `desired_state` and `payments` only; never a panel.
"""
