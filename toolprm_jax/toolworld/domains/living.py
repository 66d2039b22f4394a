"""Health, fitness, homes and town services."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CITY,
    CODE,
    DATE,
    EMAIL,
    FREQUENCY,
    MINUTES,
    PERSON,
    PLATE,
    SORT,
    STREET,
    TEXT,
    TIME,
    WEEKDAY,
    choice,
    count,
    flag,
    number,
    one_of,
    whole,
)
from ..vocabulary import words

MEDICINE = one_of(words("aspirin ibuprofen insulin vitamin-C cortisone penicillin melatonin"))
EXERCISE = choice("running", "swimming", "rowing", "yoga", "boxing")
LEVEL = choice("easy", "normal", "hard")

HEALTH = domain(
    "health",
    tool(
        "book_doctor",
        "Make an appointment with a doctor",
        required("doctor", "name of the doctor", PERSON),
        required("date", "date of the appointment", DATE),
        required("time", "time of the appointment", TIME),
        say=(
            "Make an appointment with doctor {doctor} on {date} at {time}",
            "I need an appointment with the doctor {doctor} on {date} at {time}",
            "Get me a doctor appointment with {doctor} at {time} on {date}",
        ),
    ),
    tool(
        "log_weight",
        "Log the body weight",
        required("weight", "weight in kilograms", number(45, 120)),
        optional("date", "date of the weight", DATE, " on {}"),
        say=(
            "Log a body weight of {weight} kilograms{date}",
            "Log my weight as {weight} kilograms{date}",
            "My body weight was {weight} kilograms{date}, so log it",
        ),
    ),
    tool(
        "find_pharmacy",
        "Find a pharmacy in a city",
        required("city", "city of the pharmacy", CITY),
        optional(
            "night_service",
            "whether it has night service",
            flag("with night service", "without night service"),
        ),
        say=(
            "Find a pharmacy in {city}{night_service}",
            "Where is a pharmacy in {city}{night_service}?",
            "I need a pharmacy in {city}{night_service}",
        ),
    ),
    tool(
        "order_medicine",
        "Order medicine from the pharmacy",
        required("medicine", "name of the medicine", MEDICINE),
        required("packs", "number of packs", count(2, 12)),
        optional("address", "address to deliver to", STREET, " to {}"),
        say=(
            "Order {packs} packs of the medicine {medicine}{address}",
            "Order {packs} packs of {medicine} from the pharmacy{address}",
            "I want to order {packs} packs of the medicine {medicine}{address}",
        ),
    ),
    tool(
        "schedule_medicine",
        "Schedule when to take a medicine",
        required("medicine", "name of the medicine", MEDICINE),
        required("time", "time to take it", TIME),
        optional("frequency", "how often to take it", FREQUENCY, " {}"),
        say=(
            "Schedule the medicine {medicine} at {time}{frequency}",
            "I have to take {medicine} at {time}{frequency}, so schedule it",
            "Schedule that I take the medicine {medicine} at {time}{frequency}",
        ),
        heldout=True,
    ),
)

FITNESS = domain(
    "fitness",
    tool(
        "log_workout",
        "Log a workout",
        required("exercise", "kind of exercise", EXERCISE),
        required("minutes", "length in minutes", MINUTES),
        optional("distance", "distance in kilometers", number(1, 40), " over {} kilometers"),
        say=(
            "Log a {exercise} workout of {minutes}{distance}",
            "Log {minutes} of {exercise}{distance} as a workout",
            "I did a workout of {exercise} for {minutes}{distance}",
        ),
    ),
    tool(
        "join_class",
        "Join a sports class at the gym",
        required("exercise", "kind of class", EXERCISE),
        required("day", "day of the week", WEEKDAY),
        optional("level", "level of the class", LEVEL, "{} "),
        say=(
            "Join the {level}{exercise} class on {day}",
            "I want to join the {level}{exercise} class at the gym on {day}",
            "Let me join the gym class for {level}{exercise} on {day}",
        ),
    ),
    tool(
        "set_step_goal",
        "Set a goal of steps per day",
        required("steps", "number of steps", whole(3000, 20000, 500)),
        say=(
            "Set my goal to {steps} steps per day",
            "Set a goal of {steps} steps",
            "I want a goal of {steps} steps each day",
        ),
    ),
    tool(
        "rent_court",
        "Rent a court for a game",
        required("sport", "kind of sport", choice("tennis", "squash", "badminton")),
        required("date", "date of the game", DATE),
        required("time", "time of the game", TIME),
        say=(
            "Rent a {sport} court on {date} at {time}",
            "I want to rent a court for {sport} on {date} at {time}",
            "Get a {sport} court at {time} on {date}",
        ),
        heldout=True,
    ),
)

HOMES = domain(
    "homes",
    tool(
        "search_apartments",
        "Search apartments in a city",
        required("city", "city of the apartment", CITY),
        required("rooms", "number of rooms", count(2, 8)),
        optional(
            "max_rent", "highest rent in dollars", whole(500, 4000, 50), " for at most {} dollars"
        ),
        optional("sort", "order of the results", SORT, ", {}"),
        say=(
            "Search for apartments in {city} with {rooms} rooms{max_rent}{sort}",
            "Search apartments with {rooms} rooms in {city}{max_rent}{sort}",
            "I want to search for an apartment of {rooms} rooms in {city}{max_rent}{sort}",
        ),
    ),
    tool(
        "schedule_viewing",
        "Schedule a visit to see a home",
        required("address", "address of the home", STREET),
        required("date", "date of the visit", DATE),
        optional("agent", "name of the agent", PERSON, " with the agent {}"),
        say=(
            "Schedule a visit to the home at {address} on {date}{agent}",
            "I want to visit the home at {address} on {date}{agent}",
            "Schedule a visit{agent} on {date} to see {address}",
        ),
    ),
    tool(
        "request_repair",
        "Request a repair in an apartment",
        required("address", "address of the apartment", STREET),
        required("problem", "text of the problem", TEXT),
        say=(
            "Request a repair at {address} with the text {problem}",
            "Request a repair in the apartment at {address}: {problem}",
            "I want to request a repair at {address}, the problem is {problem}",
        ),
    ),
    tool(
        "order_movers",
        "Order movers between two addresses",
        required("origin", "address to move from", STREET),
        required("destination", "address to move to", STREET),
        required("boxes", "number of boxes", count(5, 90)),
        say=(
            "Order movers for {boxes} boxes from {origin} to {destination}",
            "I need movers to take {boxes} boxes from {origin} to {destination}",
            "Order movers from {origin} to {destination} for {boxes} boxes",
        ),
        heldout=True,
    ),
)

TOWN = domain(
    "town",
    tool(
        "renew_passport",
        "Renew a passport",
        required("name", "name of the person", PERSON),
        required("passport", "code of the passport", CODE),
        optional("express", "whether it is express", flag("by express", "without express")),
        say=(
            "Renew the passport {passport} of {name}{express}",
            "Renew the passport of {name} with the code {passport}{express}",
            "I need to renew a passport for {name}, code {passport}{express}",
        ),
    ),
    tool(
        "report_pothole",
        "Report a problem on a street",
        required("address", "address on the street", STREET),
        required("problem", "kind of problem", choice("pothole", "trash", "flood", "noise")),
        say=(
            "Report a {problem} problem on the street at {address}",
            "Report {problem} at {address}",
            "I want to report {problem} on the street near {address}",
        ),
    ),
    tool(
        "register_vehicle",
        "Register a vehicle",
        required("plate", "plate of the vehicle", PLATE),
        required("owner", "owner of the vehicle", PERSON),
        optional("electric", "whether it is electric", flag("as electric", "as not electric")),
        say=(
            "Register the vehicle with the plate {plate} for the owner {owner}{electric}",
            "Register the plate {plate} for {owner}{electric}",
            "I want to register a vehicle, plate {plate}, owner {owner}{electric}",
        ),
    ),
    tool(
        "pay_parking_fine",
        "Pay a fine for a vehicle",
        required("plate", "plate of the vehicle", PLATE),
        required("amount", "amount in dollars", number(15, 200)),
        say=(
            "Pay the fine of {amount} dollars for the plate {plate}",
            "Pay a fine of {amount} dollars for the vehicle {plate}",
            "I have a fine of {amount} dollars for the vehicle with the plate {plate}",
        ),
    ),
    tool(
        "apply_for_permit",
        "Apply for a permit to build",
        required("address", "address to build at", STREET),
        required("email", "email of the person", EMAIL),
        optional("floors", "number of floors", count(2, 9), " with {} floors"),
        say=(
            "Apply for a permit to build at {address}{floors}, the email is {email}",
            "I need a permit to build{floors} at {address}, email {email}",
            "Apply for a building permit at {address}{floors} with the email {email}",
        ),
        heldout=True,
    ),
)

TOOLS = (*HEALTH, *FITNESS, *HOMES, *TOWN)
