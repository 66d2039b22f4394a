"""Kinds of values: how each is drawn, what it is in a call, and how a query says it.

Most values are copied from the query as they stand. The others follow a few regular rules (spoken
times, dates in words, number words, flags, enum words), shared by all tools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .spec import Kind
from .vocabulary import (
    BRAND_ENDS,
    BRAND_STARTS,
    CHORES,
    CITIES,
    CLOSERS,
    COLOURS,
    COUNTRIES,
    DISHES,
    EATERIES,
    FILE_ENDS,
    FILE_STEMS,
    FIRST_NAMES,
    FOODS,
    GOODS,
    HOSTS,
    LAST_ENDS,
    LAST_STARTS,
    LODGINGS,
    MONTHS,
    MOODS,
    NUMBERS,
    OPENERS,
    PETS,
    PLACE_ENDS,
    PLACE_STARTS,
    PLANTS,
    ROOMS,
    STREETS,
    SUBJECTS,
    THINGS,
    WORDS,
    words,
)


def _copied(draw: Callable[[Random], str]) -> Kind:
    def sample(rng: Random) -> tuple[str, str]:
        text = draw(rng)
        return text, text

    return Kind({"type": "string"}, sample)


def _quoted(draw: Callable[[Random], str]) -> Kind:
    def sample(rng: Random) -> tuple[str, str]:
        text = draw(rng)
        return text, f"'{text}'" if rng.random() < 0.35 else f'"{text}"'

    return Kind({"type": "string"}, sample)


def one_of(options: Sequence[str]) -> Kind:
    """A string that is one of many options and is copied; the schema doesn't list them.

    Args:
      options: the strings to draw from.

    Returns:
      The kind.

    Source: our choice.
    """
    return _copied(lambda rng: rng.choice(options))


def choice(*literal: str, **spoken: str | tuple[str, ...]) -> Kind:
    """An enum whose schema lists its values.

    Args:
      *literal: values that are said as they are.
      **spoken: for other values the phrase, or phrases, that say them.

    Returns:
      The kind.

    Source: our choice.
    """
    says: dict[str, tuple[str, ...]] = {word: (word,) for word in literal}
    for value, phrases in spoken.items():
        says[value] = (phrases,) if isinstance(phrases, str) else phrases
    values = tuple(says)

    def sample(rng: Random) -> tuple[str, str]:
        value = rng.choice(values)
        return value, rng.choice(says[value])

    return Kind({"type": "string", "enum": list(values)}, sample)


def flag(yes: str | tuple[str, ...], no: str | tuple[str, ...]) -> Kind:
    """A boolean that a phrase says.

    Args:
      yes: phrase or phrases for true.
      no: phrase or phrases for false.

    Returns:
      The kind.

    Source: our choice.
    """
    says = {
        True: (yes,) if isinstance(yes, str) else yes,
        False: (no,) if isinstance(no, str) else no,
    }

    def sample(rng: Random) -> tuple[bool, str]:
        value = rng.random() < 0.6
        return value, rng.choice(says[value])

    return Kind({"type": "boolean"}, sample)


def whole(low: int, high: int, step: int = 1) -> Kind:
    """An integer in digits.

    Args:
      low: smallest value.
      high: largest value.
      step: distance of the values from low.

    Returns:
      The kind.

    Source: our choice.
    """

    def sample(rng: Random) -> tuple[int, str]:
        value = rng.randrange(low, high + 1, step)
        return value, str(value)

    return Kind({"type": "integer"}, sample)


def count(low: int, high: int) -> Kind:
    """An integer that counts the plural noun after it: digits, or a number word up to twelve.

    Args:
      low: smallest value, at least 2.
      high: largest value.

    Returns:
      The kind.

    Source: our choice.
    """

    def sample(rng: Random) -> tuple[int, str]:
        value = rng.randint(low, high)
        if value > 12 or rng.random() < 0.5:
            return value, str(value)
        if value == 12 and rng.random() < 0.7:
            return value, "a dozen"
        return value, NUMBERS[value]

    return Kind({"type": "integer"}, sample)


def number(low: float, high: float, digits: int = 1) -> Kind:
    """A number, mostly with a decimal point, else an integer.

    Args:
      low: smallest value.
      high: largest value.
      digits: most digits after the point.

    Returns:
      The kind.

    Source: our choice.
    """

    def sample(rng: Random) -> tuple[float, str]:
        value: float = round(rng.uniform(low, high), digits)
        if value == int(value) or rng.random() < 0.3:
            value = int(value)
        return value, str(value)

    return Kind({"type": "number"}, sample)


def listing(kind: Kind, low: int = 2, high: int = 4) -> Kind:
    """A list of different values of one kind, said as `a, b and c`.

    Args:
      kind: of the items.
      low: smallest length, at least 2.
      high: largest length.

    Returns:
      The kind.

    Source: our choice.
    """

    def sample(rng: Random) -> tuple[list[object], str]:
        length = rng.randint(low, high)
        values: list[object] = []
        texts: list[str] = []
        while len(values) < length:
            value, text = kind.sample(rng)
            if value not in values:
                values.append(value)
                texts.append(text)
        return values, " and ".join([", ".join(texts[:-1]), texts[-1]])

    return Kind({"type": "array", "items": dict(kind.schema)}, sample, is_list=True)


def _date(rng: Random) -> tuple[str, str]:
    year, month, day = rng.randint(2023, 2027), rng.randint(1, 12), rng.randint(1, 28)
    value = f"{year}-{month:02d}-{day:02d}"
    style = rng.random()
    if style < 0.45:
        return value, value
    if style < 0.75:
        return value, f"{MONTHS[month - 1]} {day}, {year}"
    ending = "th" if 4 <= day <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return value, f"the {day}{ending} of {MONTHS[month - 1]} {year}"


def _day_part(hour: int) -> str:
    return "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"


def _time(rng: Random) -> tuple[str, str]:
    hour, minute = rng.randint(6, 22), rng.choice((0, 0, 15, 30, 30, 45, rng.randrange(0, 60, 5)))
    value = f"{hour:02d}:{minute:02d}"
    style = rng.random()
    if style < 0.4 or minute not in (0, 15, 30, 45):
        return value, value
    if value == "12:00":
        return value, "noon"
    if minute == 0 and style < 0.7:
        return value, f"{(hour - 1) % 12 + 1} {'am' if hour < 12 else 'pm'}"
    said = hour + 1 if minute == 45 else hour
    clock = NUMBERS[(said - 1) % 12 + 1]
    clock = {0: f"{clock} o'clock", 15: f"quarter past {clock}", 30: f"half past {clock}"}.get(
        minute, f"quarter to {clock}"
    )
    return value, f"{clock} in the {_day_part(hour)}"


def _minutes(rng: Random) -> tuple[int, str]:
    if rng.random() < 0.2:
        return rng.choice(((30, "half an hour"), (60, "an hour"), (90, "an hour and a half")))
    value = rng.choice((rng.randint(2, 12), rng.randrange(15, 125, 5)))
    in_words = value <= 12 and rng.random() < 0.35
    return value, f"{NUMBERS[value] if in_words else value} minutes"


def _last_name(rng: Random) -> str:
    return rng.choice(LAST_STARTS) + rng.choice(LAST_ENDS)


def _person(rng: Random) -> str:
    return f"{rng.choice(FIRST_NAMES)} {_last_name(rng)}"


def _city(rng: Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(CITIES)
    return rng.choice(PLACE_STARTS) + rng.choice(PLACE_ENDS)


def _brand(rng: Random) -> str:
    return rng.choice(BRAND_STARTS) + rng.choice(BRAND_ENDS)


def _product(rng: Random) -> str:
    style = rng.random()
    if style < 0.4:
        return f"{_brand(rng)} {rng.choice(GOODS)}"
    if style < 0.7:
        return f"{rng.choice(COLOURS)} {rng.choice(GOODS)}"
    return f"{_brand(rng)} {rng.choice('ABCXTZ')}{rng.randint(2, 99) * 10} {rng.choice(GOODS)}"


def _title(rng: Random) -> str:
    noun = rng.choice(THINGS).title()
    style = rng.random()
    if style < 0.4:
        return f"{rng.choice(MOODS).title()} {noun}"
    if style < 0.7:
        return f"The {rng.choice(COLOURS).title()} {noun}"
    return f"{noun} of {rng.choice(PLACE_STARTS)}{rng.choice(PLACE_ENDS)}"


def _text(rng: Random) -> str:
    opener = rng.choice(OPENERS)
    return opener if rng.random() < 0.3 else f"{opener}, {rng.choice(CLOSERS)}"


def _street(rng: Random) -> str:
    return f"{rng.randint(1, 240)} {rng.choice(STREETS)} {rng.choice(('Street', 'Road', 'Lane'))}"


def _email(rng: Random) -> str:
    host = _brand(rng).lower()
    user = rng.choice(FIRST_NAMES[:48]).lower()
    if rng.random() < 0.5:
        user += f"{rng.choice('._')}{rng.choice(LAST_STARTS).lower()}"
    return f"{user}@{host}.{rng.choice(('com', 'org', 'net'))}"


def _letters(rng: Random, length: int) -> str:
    return "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ", k=length))


def _digits(rng: Random, length: int) -> str:
    return "".join(rng.choices("0123456789", k=length))


def _code(rng: Random) -> str:
    style = rng.random()
    if style < 0.5:
        return f"{_letters(rng, 2)}-{_digits(rng, 4)}"
    return f"{_letters(rng, 1)}{_digits(rng, 5)}" if style < 0.8 else _letters(rng, 6)


def _username(rng: Random) -> str:
    tail = str(rng.randint(1, 99)) if rng.random() < 0.6 else rng.choice(THINGS)
    return f"{rng.choice(THINGS)}_{tail}"


def _file(rng: Random) -> str:
    middle = rng.choice((f"_{rng.randint(1, 60)}", f"_{rng.choice(THINGS)}", "_final"))
    return f"{rng.choice(FILE_STEMS)}{middle}.{rng.choice(FILE_ENDS)}"


DATE = Kind({"type": "string", "format": "date"}, _date)
TIME = Kind({"type": "string", "format": "time"}, _time)
MINUTES = Kind({"type": "integer"}, _minutes)
FIRST_NAME = _copied(lambda rng: rng.choice(FIRST_NAMES))
PERSON = _copied(_person)
CITY = _copied(_city)
COUNTRY = one_of(COUNTRIES)
STREET = _copied(_street)
EMAIL = _copied(_email)
PHONE = _copied(lambda rng: f"{_digits(rng, 3)}-{_digits(rng, 4)}")
COMPANY = _copied(lambda rng: f"{_brand(rng)} {rng.choice(('Group', 'Labs', 'Bank', 'Media'))}")
RESTAURANT = _copied(
    lambda rng: (
        f"{rng.choice(COLOURS).title()} {rng.choice(THINGS).title()} {rng.choice(EATERIES)}"
        if rng.random() < 0.5
        else f"{_brand(rng)} {rng.choice(EATERIES)}"
    )
)
HOTEL = _copied(lambda rng: f"{rng.choice(THINGS).title()} {rng.choice(LODGINGS)}")
MUSEUM = _copied(lambda rng: f"{_city(rng)} Museum")
TEAM = _copied(lambda rng: f"{_city(rng)} {rng.choice(THINGS).title()}s")
PRODUCT = _copied(_product)
TITLE = _quoted(_title)
TEXT = _quoted(_text)
CHORE = _quoted(lambda rng: rng.choice(CHORES))
WORD = _quoted(lambda rng: rng.choice(WORDS))
SUBJECT = one_of(SUBJECTS)
CODE = _copied(_code)
ACCOUNT = _copied(lambda rng: _digits(rng, rng.choice((6, 8))))
USERNAME = _copied(_username)
TICKER = _copied(lambda rng: _letters(rng, rng.choice((3, 4))))
FILE = _copied(_file)
FOLDER = _copied(lambda rng: f"{rng.choice(MOODS)}_{rng.choice(THINGS)}")
HOST = _copied(lambda rng: f"{rng.choice(HOSTS)}-{rng.randint(1, 99):02d}")
PLATE = _copied(lambda rng: f"{_letters(rng, 2)} {_digits(rng, 3)} {_letters(rng, 2)}")
ARTIST = _copied(lambda rng: _person(rng) if rng.random() < 0.5 else f"The {_brand(rng)}s")
FOOD = one_of(FOODS)
DISH = one_of(DISHES)
ROOM = one_of(ROOMS)
PLANT = one_of(PLANTS)
PET = one_of(PETS)
PERCENT = whole(5, 95)
CURRENCY = choice(
    USD=("USD", "US dollars"), EUR=("EUR", "euros"), GBP=("GBP", "pounds"), JPY=("JPY", "yen")
)
TEMPERATURE_UNIT = choice(celsius=("celsius", "Celsius"), fahrenheit=("fahrenheit", "Fahrenheit"))
SIZE = choice("small", "medium", "large")
PRIORITY = choice(low="low", high=("high", "urgent"), medium=("medium", "normal"))
LANGUAGE = choice(
    french="French",
    german="German",
    spanish="Spanish",
    italian="Italian",
    japanese="Japanese",
    polish="Polish",
)
SORT = choice(
    price_asc=("cheapest first", "lowest price first"),
    price_desc=("most expensive first", "highest price first"),
    rating=("best rated first", "sorted by rating"),
)
WEEKDAY = one_of(words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"))
FREQUENCY = choice(daily=("daily", "every day"), weekly=("weekly", "every week"))
COLOUR = one_of(COLOURS)
