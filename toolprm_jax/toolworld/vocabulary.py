"""Word lists from which the values of the embedded corpus are put together."""

from __future__ import annotations

import re

_BARE_ARTICLE = re.compile(r"\ba (?=[aeiouAEIOU])")


def words(text: str) -> tuple[str, ...]:
    """The words of a text.

    Args:
      text: words between white space.

    Returns:
      The words, in order.

    Source: our choice.
    """
    return tuple(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a text.

    Args:
      text: phrases between `|`.

    Returns:
      The phrases, in order.

    Source: our choice.
    """
    return tuple(text.split("|"))


def with_articles(text: str) -> str:
    """The text with "an" for "a" before a vowel; no value of the corpus holds such an "a"."""
    return _BARE_ARTICLE.sub("an ", text)


MONTHS = words(
    "January February March April May June July August September October November December"
)
NUMBERS = words("zero one two three four five six seven eight nine ten eleven twelve")

FIRST_NAMES = words(
    "Anna Ben Clara David Elena Felix Grace Hugo Irene Jonas Karin Leon Maria Nina Oscar Paula "
    "Quentin Rosa Simon Tara Umar Vera Walter Yara Amir Bianca Carlos Diana Emil Fatima Georg "
    "Hannah Ivan Julia Kevin Laura Marco Nora Omar Priya Ravi Sofia Tom Ursula Victor Wendy Ximena "
    "Yusuf Zara Chen Aiko Kofi Lina Mateo José Zoë Renée Søren Iñigo"
)
LAST_STARTS = words("Ander Berg Carl Dal Ek Fisch Gold Hart Iver Jen Kess Lind Mill Nor Oak Pett")
LAST_ENDS = words("son mann ley er dez ström sen ova well ini ard wood berg ski ton ek")
PLACE_STARTS = words(
    "Bel Mar Kor Ash Wil Tren Lun Har Dor Fen Gal Hol Ister Jar Kel Lor Mon Nor Ost Pel Quin Ros "
    "Sal Tor Ul Ver Wen Yar Zel Bram Cal Dun El Far Glen"
)
PLACE_ENDS = words(
    "ford ton ville mere burg stad wick ora ina field dale port haven bury holm mouth sea ley gate"
)
CITIES = (
    *words(
        "Paris London Berlin Madrid Rome Vienna Oslo Lisbon Prague Dublin Boston Chicago Seattle "
        "Denver Tokyo Osaka Seoul Delhi Mumbai Cairo Lagos Nairobi Sydney Toronto Lima Bogotá "
        "Zürich Málaga"
    ),
    "São Paulo",
    "New York",
    "Cape Town",
    "San Diego",
    "Hong Kong",
    "Buenos Aires",
)
COUNTRIES = (
    *words(
        "France Germany Spain Italy Norway Sweden Poland Japan India China Brazil Mexico Canada "
        "Egypt Kenya Ghana Peru Chile Turkey Greece Portugal Ireland Iceland Finland Austria "
        "Vietnam"
    ),
    "New Zealand",
    "South Africa",
    "Costa Rica",
)
BRAND_STARTS = words("Nova Zen Ulti Aqua Terra Luma Vox Kine Ora Pix Rapi Solo Tri Ever Mono Halo")
BRAND_ENDS = words("tra lux don mix fy core via tek sonic line max wave pro nest rex lia")
GOODS = words(
    "kettle headphones backpack lamp jacket keyboard camera blender desk chair tent watch speaker "
    "monitor bottle toaster sofa bicycle drone helmet printer carpet guitar mirror"
)
COLOURS = words("red blue green golden silver black white purple orange amber scarlet ivory")
THINGS = words(
    "river garden mountain lantern forest winter harbor mirror letter island storm bridge shadow "
    "tower ocean candle desert orchard signal castle meadow comet violin kingdom"
)
MOODS = words("silent hidden broken endless lost wild gentle distant burning frozen secret bright")
EATERIES = words("Bistro Kitchen Grill Cafe Tavern House Garden Diner")
LODGINGS = words("Hotel Inn Lodge Resort Suites Plaza")
STREETS = words("Oak Maple Church Station Mill River Park Bridge Garden Market Castle Hill")
SUBJECTS = phrases(
    "solar energy|ancient history|world music|modern art|organic chemistry|machine learning|"
    "climate change|medieval castles|ocean life|space travel|urban planning|public health|"
    "jazz piano|game theory|folk dance|deep sea fish|coffee farming|electric cars|bird watching|"
    "desert plants|roman law|baroque music|wind power|child care|street food|stone age tools"
)
CHORES = phrases(
    "call the plumber|wash the car|water the roses|pay the rent|buy stamps|clean the garage|"
    "fix the fence|order new shoes|return the books|pick up the laundry|paint the door|"
    "feed the cat|print the report|charge the drone|renew the contract|empty the bin|"
    "check the tires|pack the suitcase|sweep the floor|write the speech|"
    "hire the movers|move the boxes|download the subtitles|plan the meals|harvest the plums|"
    "walk the dogs|measure the soil|build the shelf|brew the coffee|apply for the permit|"
    "book the museum tour|finish the quiz|request the loan|share the news|water the plants|"
    "cut the grass|close the blinds|book the court|order the seeds|park the van"
)
OPENERS = phrases(
    "Running late|The train is full|Dinner is ready|The meeting is moved|I found your keys|"
    "The report is done|Thanks for the help|The door is open|Bring some water|We are on the way|"
    "The printer is broken|Happy birthday|The car is fixed|Do not wait|The plan has changed|"
    "The museum tour is late|The snow is deep|The coffee is ready|The seeds are here|"
    "The loan is paid|Bring the coupon|The permit is here|The parking place is full|"
    "The concert is in the park|The guide is ill|The power is off|The bags are packed|"
    "The garden is wet|The device is broken|The meeting room is public"
)
CLOSERS = phrases(
    "see you soon|please call back|we talk on Monday|let me know|more news later|ask for details|"
    "no rush at all|come to the office|meet us at the gate|bring the children|check the list"
)
FOODS = words(
    "rice eggs milk tomatoes pasta beans carrots onions cheese mushrooms lentils potatoes spinach "
    "chicken salmon apples lemons garlic butter oats walnuts peppers"
)
DISHES = phrases(
    "pizza|lasagna|ramen|burrito|pad thai|falafel|paella|curry|sushi|risotto|goulash|moussaka|"
    "dumplings|tacos|biryani|pancakes|chili|ratatouille"
)
ROOMS = phrases("kitchen|bedroom|living room|bathroom|office|hallway|garage|attic|basement|nursery")
WORDS = phrases(
    "lucid|fragile|candor|nimble|verdant|austere|brisk|candid|dormant|elusive|fervent|gallant|"
    "humble|jovial|keen|lavish|mellow|novice|obscure|placid|quaint|robust|serene|tedious"
)
FILE_STEMS = words(
    "report budget invoice photo notes draft summary contract slides backup data log"
)
FILE_ENDS = words("pdf docx txt csv png jpg xlsx md zip")
HOSTS = words("web mail data cache auth build proxy queue")
PLANTS = phrases(
    "tomatoes|roses|tulips|basil|lavender|ferns|orchids|pumpkins|sunflowers|mint|cactus|peonies|"
    "lettuce|strawberries|ivy|radishes"
)
PETS = words("Rex Bella Milo Luna Coco Simba Nala Ziggy Pepper Biscuit Pixel Mochi Bruno Olive")
