"""What the panel says to people, by version and language.

Callers: `wire`, which builds every envelope. The inner part of an error is never localised.
Not here: the order of checks.
"""
# ruff: noqa: RUF001 - letters of Russian and Chinese sentences

from simulator.version import Version

Translations = tuple[str, str, str]

LANGUAGES = ("en-US", "ru-RU", "zh-CN")

# Up to 2.5.8 a sentence is a noun and one of two suffixes.
_OLD_SUFFIX: dict[bool, Translations] = {
    True: (" Successfully", "Успешно", "成功"),
    False: (" Failed", "Неудачно", "失败"),
}
_OLD: dict[str, Translations] = {
    "session_expired": (
        "Your session has expired, please log in again",
        "Время пребывания в сети вышло. Пожалуйста, войдите в систему снова",
        "登录时效已过，请重新登录",
    ),
    "login_invalid": (
        "The Input data format is invalid.",
        "Недопустимый формат данных",
        "数据格式错误",
    ),
    "login_no_user": ("Username is required", "Введите имя пользователя", "请输入用户名"),
    "login_no_password": ("Password is required", "Введите пароль", "请输入密码"),
    "login_refused": (
        "Invalid username or password or secret.",
        "Неверное имя пользователя или пароль",
        "用户名或密码错误",
    ),
    "login_ok": ("Login", "Успешный вход", "登录"),
    "wrong": ("Something went wrong!", "Something went wrong!", "Something went wrong!"),
    "obtain": ("Obtain", "Получить", "获取"),
    "traffic_error": ("Error getting traffics", "Error getting traffics", "Error getting traffics"),
    "client_added": ("Client(s) added", "Client(s) added", "Client(s) added"),
    "client_updated": ("Client updated", "Client updated", "Client updated"),
    "client_deleted": ("Client deleted", "Client deleted", "Client deleted"),
    "inbound_added": ("Create", "Создать", "添加"),
    "inbound_updated": ("Update", "Обновить", "修改"),
    "inbound_deleted": ("Delete", "Удалить", "删除"),
    "traffic_reset": ("Traffic has been reset",) * 3,
    "client_traffics_reset": ("All traffic of client has been reset",) * 3,
    "all_reset": ("All traffic has been reset",) * 3,
    "depleted_deleted": ("All depleted clients are deleted",) * 3,
    "log_cleared": ("Log Cleared",) * 3,
    "settings_changed": ("The parameters have been changed.",) * 3,
}
_NEW: dict[str, Translations] = {
    "session_expired": (
        "Your session has expired, please log in again",
        "Сессия истекла. Войдите в систему снова",
        "登录时效已过，请重新登录",
    ),
    "login_refused": (
        "Invalid username or password or two-factor code.",
        "Неверные данные учетной записи.",
        "用户名、密码或双重验证码无效。",
    ),
    "login_ok": (
        " You have successfully logged into your account.",
        "Вход выполнен успешно",
        "您已成功登录您的账户。",
    ),
    "wrong": ("Something went wrong", "Что-то пошло не так", "出了点问题"),
    "traffic_error": (
        "Error getting traffics.",
        "Ошибка получения данных о трафике",
        "获取流量数据时出错",
    ),
    "client_added": (
        "Inbound client(s) have been added.",
        "Клиент(ы) подключения добавлен(ы)",
        "已添加入站客户端",
    ),
    "client_updated": (
        "Inbound client has been updated.",
        "Клиент подключения обновлён",
        "入站客户端已更新",
    ),
    "client_deleted": (
        "Inbound client has been deleted.",
        "Клиент подключения удалён",
        "入站客户端已删除",
    ),
    "inbound_added": (
        "Inbound has been successfully created.",
        "Подключение успешно создано",
        "入站连接已成功创建",
    ),
    "inbound_updated": (
        "Inbound has been successfully updated.",
        "Подключение успешно обновлено",
        "入站连接已成功更新",
    ),
    "inbound_deleted": (
        "Inbound has been successfully deleted.",
        "Подключение успешно удалено",
        "入站连接已成功删除",
    ),
    "traffic_reset": ("Traffic has been reset.", "Трафик сброшен", "流量已重置"),
    "inbound_traffic_reset": (
        "Inbound traffic has been reset.",
        "Входящий трафик сброшен",
        "入站流量已重置",
    ),
    "client_traffics_reset": (
        "All traffic from the client has been reset.",
        "Весь трафик клиента сброшен",
        "客户端所有流量已重置",
    ),
    "all_reset": ("All traffic has been reset.", "Весь трафик сброшен", "所有流量已重置"),
    "depleted_deleted": (
        "All depleted clients are deleted.",
        "Все исчерпанные клиенты удалены",
        "所有耗尽客户端已删除",
    ),
    "log_cleared": ("The log has been cleared.", "Лог был очищен", "日志已清除"),
    "settings_changed": (
        "The parameters have been changed.",
        "Настройки изменены",
        "参数已更改。",
    ),
    "delete_by_email": ("Failed to delete client by email",) * 3,
    "get": ("", "", ""),
}
# English was polished together with the move of the translations to JSON files.
_POLISHED = {
    "login_invalid": "The input data format is invalid.",
    "login_ok": "You have successfully logged into your account.",
    "traffic_error": "Error getting traffic.",
    "client_traffics_reset": "Traffic for all clients has been reset.",
    "depleted_deleted": "All depleted clients have been deleted.",
}


def say(key: str, version: Version, language: str) -> str:
    """One sentence, without the suffixes of versions up to 2.5.8."""
    index = LANGUAGES.index(language) if language in LANGUAGES else 0
    if version >= (3, 1, 0) and index == 0 and key in _POLISHED:
        return _POLISHED[key]
    if version >= (2, 6, 0) and key in _NEW:
        return _NEW[key][index]
    return _OLD[key][index] if key in _OLD else key


def success(key: str, version: Version, language: str) -> str:
    """The sentence of a write that was done."""
    return say(key, version, language) + _suffix(version, language, done=True)


def failure(key: str, inner: str, version: Version, language: str) -> str:
    """The sentence of a refusal; `inner` ends with a newline when the panel made it itself."""
    outer = say(key, version, language)
    if version < (2, 6, 0):
        return f"{outer}{_suffix(version, language, done=False)}: {inner}"
    if not inner and version >= (2, 9, 4):
        return outer or say("wrong", version, language)
    return f"{outer} ({inner})"


def _suffix(version: Version, language: str, *, done: bool) -> str:
    if version >= (2, 6, 0):
        return ""
    index = LANGUAGES.index(language) if language in LANGUAGES else 0
    return _OLD_SUFFIX[done][index]
