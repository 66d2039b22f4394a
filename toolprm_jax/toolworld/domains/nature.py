"""Pets and gardens."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CITY,
    DATE,
    MINUTES,
    PET,
    PLANT,
    TIME,
    WEEKDAY,
    choice,
    count,
    flag,
    listing,
    number,
    whole,
)

ANIMAL = choice("dog", "cat", "rabbit", "parrot")

PETS = domain(
    "pets",
    tool(
        "feed_pet",
        "Feed a pet",
        required("pet", "name of the pet", PET),
        required("grams", "weight of food in grams", whole(20, 400, 10)),
        optional("time", "time to feed", TIME, " at {}"),
        say=(
            "Feed {pet} with {grams} grams of food{time}",
            "Feed my pet {pet} {grams} grams{time}",
            "I want to feed {pet} with {grams} grams{time}",
        ),
    ),
    tool(
        "book_vet",
        "Book a vet for a pet",
        required("pet", "name of the pet", PET),
        required("date", "date of the vet", DATE),
        optional(
            "reason", "reason of the visit", choice("vaccine", "checkup", "injury"), ", reason {}"
        ),
        say=(
            "Book a vet for {pet} on {date}{reason}",
            "My pet {pet} needs the vet on {date}{reason}",
            "I want to see the vet with my pet {pet} on {date}{reason}",
        ),
    ),
    tool(
        "adopt_animal",
        "Adopt an animal from a shelter",
        required("animal", "kind of animal", ANIMAL),
        required("city", "city of the shelter", CITY),
        optional("max_age", "highest age in years", count(2, 12), " not older than {} years"),
        say=(
            "Adopt a {animal}{max_age} from the shelter in {city}",
            "I want to adopt a {animal}{max_age} in {city}",
            "Find a {animal}{max_age} to adopt from the animal shelter in {city}",
        ),
    ),
    tool(
        "hire_dog_walker",
        "Hire someone to walk dogs",
        required("dogs", "number of dogs", count(2, 6)),
        required("minutes", "length of the walk in minutes", MINUTES),
        optional("day", "day of the walk", WEEKDAY, " on {}"),
        say=(
            "Hire someone to walk {dogs} dogs for {minutes}{day}",
            "I want to hire a walker for {dogs} dogs for {minutes}{day}",
            "Find someone to walk my {dogs} dogs{day} for {minutes}",
        ),
        heldout=True,
    ),
)

GARDEN = domain(
    "garden",
    tool(
        "water_plants",
        "Water the plants in the garden",
        required("plants", "plants to water", listing(PLANT, 2, 3)),
        optional("minutes", "length in minutes", MINUTES, " for {}"),
        say=(
            "Water these plants{minutes}: {plants}",
            "Water the {plants} in the garden{minutes}",
            "I want to water the plants{minutes}, namely the {plants}",
        ),
    ),
    tool(
        "order_seeds",
        "Order seeds for the garden",
        required("plant", "plant of the seeds", PLANT),
        required("packs", "number of packs", count(2, 20)),
        optional(
            "organic", "whether they are organic", flag("organic", "not organic"), " that are {}"
        ),
        say=(
            "Order {packs} packs of seeds for {plant}{organic}",
            "Order seeds for {plant}{organic}, {packs} packs",
            "I need {packs} packs of {plant} seeds{organic} for the garden",
        ),
    ),
    tool(
        "mow_lawn",
        "Start the robot that cuts the grass",
        required("height", "height of the grass in centimeters", number(2, 9)),
        optional("time", "time to start", TIME, " at {}"),
        say=(
            "Start to cut the grass{time} to a height of {height} centimeters",
            "Let the robot cut the grass{time} at a height of {height} centimeters",
            "I want the grass cut to {height} centimeters{time}",
        ),
    ),
    tool(
        "plan_harvest",
        "Plan when to harvest a plant",
        required("plant", "plant to harvest", PLANT),
        required("date", "date of the harvest", DATE),
        say=(
            "Plan to harvest the {plant} on {date}",
            "Plan the harvest of the plant {plant} on {date}",
            "I want to harvest the {plant} on {date}",
        ),
    ),
    tool(
        "measure_soil",
        "Measure how wet the soil of a bed is",
        required("bed", "number of the bed", whole(1, 40)),
        required("depth", "depth in centimeters", number(1, 30)),
        say=(
            "How wet is the soil of bed {bed} at a depth of {depth} centimeters?",
            "Measure the soil of bed {bed} at a depth of {depth} centimeters",
            "I need to measure the soil in bed {bed}, depth {depth} centimeters",
        ),
    ),
    heldout=True,
)

TOOLS = (*PETS, *GARDEN)
