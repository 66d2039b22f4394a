"""Tools without end, put together at random from plain words.

A model that sees only a few hundred tools can learn them by heart. Here no tool comes back, so only
the words that a query shares with a description tell which tool and which parameter it means.
"""

from __future__ import annotations

from random import Random

from . import values
from .spec import Kind, Param, ToolSpec, optional, required, tool
from .vocabulary import with_articles, words

VERBS = words(
    "add adjust answer apply approve archive arrange ask assign attach balance block book borrow "
    "bring build buy calculate call cancel carry change charge check choose clean clear close "
    "collect combine compare compute confirm connect convert copy count cover create cut deliver "
    "describe design detect discuss divide download draw drop edit empty enter estimate examine "
    "export fetch fill filter find finish fix follow format forward generate get give grow guess "
    "hide hire import improve increase inspect install invite join judge keep label launch lead "
    "learn lift limit list load locate lock look log make manage map mark measure merge mix "
    "monitor move name note offer open order organise pack paint pause pay pick place plan plant "
    "play plot post predict prepare print produce protect publish pull push put rank rate read "
    "receive recommend record recover reduce refund register reject release remind remove rename "
    "rent repair repeat replace reply report request reserve reset resize return review rotate "
    "run save scan schedule score search select sell send serve set share shift show shut sign "
    "simulate solve sort split start stop store submit suggest summarise swap switch take tell "
    "test throw track trade transfer translate trim turn type unlock update upload use validate "
    "verify view visit wash watch weigh wrap write"
)
NOUNS = words(
    "account address advice agenda airport alarm album angle animal answer apartment appointment "
    "area argument article artist asteroid attendance auction average badge bag balance ball band "
    "bank banner basket battery beach bed bell bicycle bill bird birthday blanket board boat body "
    "book bottle box branch bridge brush bucket budget building bus button cable cake calendar "
    "camera camp candle car card cargo cart case castle cat ceiling chain chair channel chapter "
    "charge chart circle city class client clock cloth cloud club coach coat code coin color "
    "column comment community company compass concert contact container contest contract cookie "
    "copy corner cost country course court crop cup currency curtain customer cycle data date "
    "deal debt degree delivery depth desk device diagram diet discount dish distance district "
    "document dog door drawing dress drink driver duration duty email employee engine entry "
    "episode equation error essay event exam exchange exercise exhibition expense expert factor "
    "factory fan farm fee fence field figure file film fire fish flag flight floor flower folder "
    "food forecast forest form formula fountain frame friend fruit fuel function furniture game "
    "garage garden gas gate gift glass goal grade graph group guest guide guitar hall harbor hat "
    "heart heater height hill history holiday horse hospital hotel house idea image index "
    "insurance interest inventory invoice island item jacket job journal journey judge jury "
    "kettle key kitchen knife ladder lake lamp language laptop law lawn leaf lecture lens lesson "
    "letter level library license light limit line list loan lock lunch machine magazine mail map "
    "market mask match material meal measure medicine meeting member memo menu message metal "
    "meter mirror model money moon motor mountain movie museum music name network news note novel "
    "number office oil opinion option orbit order organ oven owner package page paint pair paper "
    "parade park parking part partner party passport password patient pattern payment pen pension "
    "permit person pet phone photo piano picture pipe place plan planet plant plate player "
    "podcast poem point policy pool population port portrait position poster pot power "
    "prescription present price printer prize problem product profile profit program project "
    "promise proof property pump purchase puzzle quality quantity question queue quiz quote race "
    "radio rain range ratio receipt recipe record region rent repair reply report request rescue "
    "reservation resort result review reward ring river road robot rocket role roof room rope "
    "route row rule salary sale sample satellite scale scene school score screen sea season seat "
    "secret section seed sensor sentence server service session shape share shelf shift ship "
    "shirt shoe shop show signal size sketch skill sky sleep snack snow soap society sofa soil "
    "song sound source space speaker speech speed sport stage stamp star station statue status "
    "step stock stone storage store storm story stove street student studio style subject "
    "subscription suit summary supply survey sweater switch symbol symptom system table tablet "
    "target task tax taxi tea teacher team temperature tent term test text theater theme theory "
    "thread ticket tide tile time tip title token tool topic tour tower town toy track trade "
    "traffic trail train translation travel tree trip truck tunnel type umbrella unit university "
    "user vacation valley value van vehicle version video village violin visa visitor voice "
    "volume vote voucher wage wall wallet warehouse watch water wave weather website wedding week "
    "weight wheel width wind window wine winner wire word work worker workshop yard year zone"
)
OPTIONS = words(
    "quick slow cheap early late near light heavy dark bright simple full public private local "
    "remote daily weekly monthly yearly soft loud warm cold open closed new old first last north "
    "south east west plain formal casual short long thin thick fresh dry wet sweet sour round "
    "flat"
)
STRINGS = (
    values.PERSON,
    values.CITY,
    values.COUNTRY,
    values.STREET,
    values.EMAIL,
    values.PHONE,
    values.COMPANY,
    values.RESTAURANT,
    values.HOTEL,
    values.TEAM,
    values.PRODUCT,
    values.TITLE,
    values.TEXT,
    values.CHORE,
    values.WORD,
    values.SUBJECT,
    values.CODE,
    values.ACCOUNT,
    values.USERNAME,
    values.TICKER,
    values.FILE,
    values.FOLDER,
    values.HOST,
    values.PLATE,
    values.ARTIST,
    values.FOOD,
    values.DISH,
    values.ROOM,
    values.PLANT,
    values.PET,
    values.FIRST_NAME,
    values.COLOUR,
    values.WEEKDAY,
    values.MUSEUM,
)
LISTED = (values.PERSON, values.CITY, values.COUNTRY, values.FOOD, values.FIRST_NAME)
PARAMETERS = (0.06, 0.35, 0.35, 0.24)  # probabilities of none, one, two, three parameters
REQUIRED = 0.6  # probability that a parameter is


def _kind(rng: Random, label: str) -> Kind:
    """A kind of value for the parameter called `label` in descriptions and queries."""
    style = rng.random()
    if style < 0.42:
        return rng.choice(STRINGS)
    if style < 0.50:
        return values.whole(2, 900)
    if style < 0.60:
        return values.count(2, 30)
    if style < 0.66:
        return values.number(1, 500)
    if style < 0.74:
        return values.DATE
    if style < 0.82:
        return values.TIME
    if style < 0.86:
        return values.listing(rng.choice(LISTED))
    if style < 0.93:
        return values.choice(*rng.sample(OPTIONS, rng.randint(2, 3)))
    return values.flag((f"with {label}", f"including {label}"), (f"without {label}", f"no {label}"))


def _parameter(rng: Random, index: int, label: str, noun: str, verb: str) -> tuple[Param, str]:
    """A parameter and its part of a phrasing."""
    kind = _kind(rng, label)
    said = rng.choice(
        (f"{label} of the {noun}", label, f"{label} to {verb}", f"the {label}", f"{label} for it")
    )
    type_ = kind.schema["type"]
    if type_ == "boolean":
        fragment = " {}"
    elif type_ in ("integer", "number") and rng.random() < 0.35:
        said = f"number of {label}s"
        fragment = f" for {{}} {label}s"
    elif type_ in ("integer", "number"):
        fragment = rng.choice(
            (f" with {label} {{}}", f" with a {label} of {{}}", f", {label} {{}}")
        )
    elif index == 0:
        fragment = rng.choice((" {}", " for {}", " of {}", f" for the {label} {{}}", " at {}"))
    else:
        fragment = rng.choice(
            (
                f" with the {label} {{}}",
                f" and {label} {{}}",
                f", {label} {{}}",
                f" for {label} {{}}",
            )
        )
    name = f"p{index}"
    if rng.random() < REQUIRED:
        return required(name, said, kind), fragment.replace("{}", f"{{{name}}}")
    return optional(name, said, kind, fragment), f"{{{name}}}"


def invent_tool(rng: Random, name: str) -> ToolSpec:
    """A tool whose description, parameters and phrasings are made up.

    Args:
      rng: where it comes from.
      name: of the tool.

    Returns:
      The tool, of the training split.

    Source: our choice.
    """
    verb = rng.choice(VERBS)
    noun, other, *labels = rng.sample(NOUNS, 5)
    article = rng.choice(("a", "the"))
    tails = ("", "", f" of a {other}", f" for a {other}", f" in the {other}", f" and the {other}")
    tail = rng.choice(tails)
    description = with_articles(f"{verb.capitalize()} {article} {noun}{tail}")
    said = rng.choice((tail, tail, tail.replace(" a ", " the "), ""))
    params: list[Param] = []
    slots = ""
    for index in range(rng.choices(range(4), PARAMETERS)[0]):
        param, slot = _parameter(rng, index, labels[index], noun, verb)
        params.append(param)
        slots += slot
    openings = (
        f"{verb.capitalize()} {article} {noun}{said}",
        f"{verb.capitalize()} my {noun}{said}",
        f"I want to {verb} {rng.choice(('a', 'the', 'my'))} {noun}{said}",
        f"I need {rng.choice(('a', 'the'))} {noun}{said}",
        f"What is the {noun}{said}",
        f"{rng.choice(('Get', 'Do', 'Show me', 'Handle'))} {rng.choice(('a', 'the'))} {noun}{said}",
        f"Please {verb} {rng.choice(('a', 'the', 'this'))} {noun}",
    )
    say = tuple(
        f"{opening}{slots}{'?' if opening.startswith('What') else ''}"
        for opening in rng.sample(openings, 3)
    )
    return tool(name, description, *params, say=say)
