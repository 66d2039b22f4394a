"""Cooking, shopping, parcels and the smart home."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CITY,
    CODE,
    COLOUR,
    DATE,
    DISH,
    FOOD,
    MINUTES,
    PERSON,
    PRODUCT,
    ROOM,
    SIZE,
    SORT,
    STREET,
    TEMPERATURE_UNIT,
    TEXT,
    TIME,
    choice,
    count,
    flag,
    listing,
    number,
    whole,
)

DIET = choice("vegan", "vegetarian", gluten_free=("gluten free", "gluten-free"))

COOKING = domain(
    "cooking",
    tool(
        "find_recipe",
        "Find a recipe with given ingredients",
        required("ingredients", "ingredients to use", listing(FOOD, 2, 4)),
        optional("diet", "diet to follow", DIET, "{} "),
        optional(
            "max_minutes", "longest cooking time in minutes", MINUTES, " that takes at most {}"
        ),
        say=(
            "Find a {diet}recipe{max_minutes} with {ingredients}",
            "Is there a {diet}recipe{max_minutes} that uses {ingredients}?",
            "I want to find a {diet}recipe{max_minutes} for {ingredients}",
        ),
    ),
    tool(
        "get_calories",
        "Get the calories in a food",
        required("food", "name of the food", FOOD),
        required("grams", "weight in grams", whole(50, 900, 10)),
        say=(
            "How many calories are in {grams} grams of {food}?",
            "Get the calories in {grams} grams of {food}",
            "I ate {grams} grams of {food}, tell me the calories",
        ),
    ),
    tool(
        "scale_recipe",
        "Scale a recipe to a number of servings",
        required("dish", "dish of the recipe", DISH),
        required("servings", "number of servings", count(2, 24)),
        say=(
            "Scale the recipe for {dish} to {servings} servings",
            "I need the {dish} recipe for {servings} servings",
            "Change the recipe of {dish} so that it makes {servings} servings",
        ),
    ),
    tool(
        "preheat_oven",
        "Heat the oven to a temperature",
        required("temperature", "temperature in degrees", whole(120, 260, 5)),
        optional("unit", "temperature unit", TEMPERATURE_UNIT, " {}"),
        optional("minutes", "minutes to stay hot", MINUTES, " for {}"),
        say=(
            "Heat the oven to {temperature} degrees{unit}{minutes}",
            "Set the oven to {temperature} degrees{unit}{minutes}",
            "I want the oven at {temperature} degrees{unit}{minutes}",
        ),
    ),
    tool(
        "plan_meals",
        "Plan meals for some days",
        required("days", "number of days", count(2, 14)),
        optional("diet", "diet to follow", DIET, "{} "),
        optional("budget", "budget in dollars", whole(30, 300), " with a budget of {} dollars"),
        say=(
            "Plan {diet}meals for {days} days{budget}",
            "I need a plan of {diet}meals for {days} days{budget}",
            "Plan what {diet}meals we eat in the next {days} days{budget}",
        ),
        heldout=True,
    ),
)

SHOPPING = domain(
    "shopping",
    tool(
        "search_products",
        "Search products in the shop",
        required("product", "product to search", PRODUCT),
        optional("max_price", "highest price in dollars", number(10, 500), " under {} dollars"),
        optional("sort", "order of the results", SORT, ", {}"),
        say=(
            "Search the shop for a {product}{max_price}{sort}",
            "Search for a {product}{max_price} in the shop{sort}",
            "Does the shop have the product {product}{max_price}{sort}?",
        ),
    ),
    tool(
        "add_to_cart",
        "Add a product to the shopping cart",
        required("product", "product to add", PRODUCT),
        required("quantity", "quantity of pieces", count(2, 20)),
        optional("color", "color of the product", COLOUR, " in the color {}"),
        say=(
            "Add {quantity} pieces of the {product}{color} to my cart",
            "Add {quantity} pieces of the product {product}{color} to the shopping cart",
            "I want to add {quantity} pieces of the {product}{color} to my cart",
        ),
    ),
    tool(
        "empty_cart",
        "Empty the shopping cart",
        say=(
            "Empty my shopping cart",
            "Make the shopping cart empty",
            "I want an empty cart",
        ),
    ),
    tool(
        "return_product",
        "Return a product from an order",
        required("order", "code of the order", CODE),
        required("product", "product to return", PRODUCT),
        optional("reason", "reason of the return", TEXT, " because of this reason: {}"),
        say=(
            "Return the {product} from order {order}{reason}",
            "I want to return the {product} of order {order}{reason}",
            "Send the {product} from order {order} back as a return{reason}",
        ),
    ),
    tool(
        "write_product_review",
        "Write a review of a product",
        required("product", "product to review", PRODUCT),
        required("stars", "number of stars", count(2, 5)),
        optional("title", "title of the review", TEXT, " with the title {}"),
        say=(
            "Write a product review of the {product} with {stars} stars{title}",
            "Review the product {product} and give it {stars} stars{title}",
            "I want to give the product {product} a review of {stars} stars{title}",
        ),
    ),
    tool(
        "apply_coupon",
        "Apply a coupon to an order",
        required("coupon", "code of the coupon", CODE),
        required("order", "code of the order", CODE),
        say=(
            "Apply coupon {coupon} to order {order}",
            "Use the coupon {coupon} for order {order}",
            "I have a coupon {coupon} for my order {order}",
        ),
        heldout=True,
    ),
)

PARCELS = domain(
    "parcels",
    tool(
        "send_parcel",
        "Send a parcel to a person",
        required("recipient", "person who gets it", PERSON),
        required("address", "address to send to", STREET),
        required("weight", "weight in kilograms", number(0.3, 20)),
        optional("insured", "whether insured", flag("with insurance", "without insurance")),
        say=(
            "Send a parcel of {weight} kilograms to {recipient} at {address}{insured}",
            "I want to send {recipient} at {address} a parcel of {weight} kilograms{insured}",
            "Send a parcel{insured} to {recipient}, address {address}, weight {weight} kilograms",
        ),
    ),
    tool(
        "track_parcel",
        "Track where a parcel is",
        required("code", "tracking code", CODE),
        say=(
            "Where is my parcel {code}?",
            "Track the parcel with the code {code}",
            "I am waiting for parcel {code}, so track it",
        ),
    ),
    tool(
        "schedule_pickup",
        "Schedule a pickup of parcels at an address",
        required("address", "address of the pickup", STREET),
        required("date", "date of the pickup", DATE),
        optional("parcels", "number of parcels", count(2, 12), " of {} parcels"),
        say=(
            "Schedule a pickup{parcels} at {address} on {date}",
            "I need a pickup{parcels} from {address} on {date}",
            "Schedule the pickup{parcels} on {date}, the address is {address}",
        ),
    ),
    tool(
        "quote_shipping",
        "Quote the shipping price between two cities",
        required("origin", "city to ship from", CITY),
        required("destination", "city to ship to", CITY),
        required("weight", "weight in kilograms", number(0.3, 40)),
        say=(
            "What is the shipping price from {origin} to {destination} for {weight} kilograms?",
            "Quote the shipping of {weight} kilograms from {origin} to {destination}",
            "I want the price of shipping {weight} kilograms from {origin} to {destination}",
        ),
        heldout=True,
    ),
)

SMART_HOME = domain(
    "smart_home",
    tool(
        "set_lights",
        "Set the lights in a room",
        required("room", "room of the lights", ROOM),
        required("brightness", "brightness in percent", whole(5, 100, 5)),
        optional("color", "color of the lights", COLOUR, " and the color to {}"),
        say=(
            "Set the lights in the {room} to {brightness} percent{color}",
            "Set the brightness of the {room} lights to {brightness} percent{color}",
            "I want the lights in the {room} at {brightness} percent",
        ),
    ),
    tool(
        "set_thermostat",
        "Set the thermostat of a room",
        required("room", "room of the thermostat", ROOM),
        required("temperature", "temperature in degrees", number(15, 27)),
        optional("until", "time when it ends", TIME, " until {}"),
        say=(
            "Set the thermostat in the {room} to {temperature} degrees{until}",
            "Put the {room} thermostat at {temperature} degrees{until}",
            "I want the thermostat of the {room} at {temperature} degrees{until}",
        ),
    ),
    tool(
        "set_door_lock",
        "Lock or unlock a door",
        required("door", "name of the door", choice("front", "back", "garage", "cellar")),
        required("action", "lock or unlock", choice("lock", "unlock")),
        say=(
            "Please {action} the {door} door",
            "I want you to {action} the {door} door",
            "Go and {action} the {door} door",
        ),
    ),
    tool(
        "start_vacuum",
        "Start the robot vacuum in rooms",
        required("rooms", "rooms to vacuum", listing(ROOM, 2, 3)),
        optional("mode", "cleaning mode", choice("quiet", "normal", "strong"), " in {} mode"),
        say=(
            "Start the vacuum{mode} in the rooms {rooms}",
            "Let the robot vacuum{mode} these rooms: {rooms}",
            "I want the robot to vacuum{mode} the {rooms}",
        ),
    ),
    tool(
        "arm_alarm_system",
        "Arm the burglar alarm of the house",
        say=(
            "Arm the burglar alarm",
            "Turn on the burglar alarm of the house",
            "I am leaving, so arm the house alarm",
        ),
    ),
    tool(
        "set_blinds",
        "Open or close the blinds in a room",
        required("room", "room of the blinds", ROOM),
        required("action", "open or close", choice("open", "close")),
        optional("time", "time to do it", TIME, " at {}"),
        say=(
            "Please {action} the blinds in the {room}{time}",
            "I want you to {action} the {room} blinds{time}",
            "Go and {action} the blinds of the {room}{time}",
        ),
        heldout=True,
    ),
    tool(
        "brew_coffee",
        "Brew cups of coffee",
        required("cups", "number of cups", count(2, 12)),
        optional("size", "size of the cups", SIZE, "{} "),
        optional("time", "time to start", TIME, " at {}"),
        say=(
            "Brew {cups} {size}cups of coffee{time}",
            "Make {cups} {size}cups of coffee{time}",
            "I want {cups} {size}cups of coffee{time}",
        ),
        heldout=True,
    ),
)

TOOLS = (*COOKING, *SHOPPING, *PARCELS, *SMART_HOME)
