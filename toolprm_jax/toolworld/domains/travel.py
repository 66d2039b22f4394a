"""Weather, flights, hotels, transport and restaurants."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CITY,
    CODE,
    DATE,
    DISH,
    HOTEL,
    MINUTES,
    PERSON,
    RESTAURANT,
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

CABIN = choice("economy", "business", first=("first class", "first"))
CUISINE = choice("italian", "mexican", "indian", "thai", "greek", "vegan")

WEATHER = domain(
    "weather",
    tool(
        "get_weather",
        "Get the weather forecast for a city",
        required("city", "city of the forecast", CITY),
        optional("date", "date of the forecast", DATE, " on {}"),
        optional("unit", "temperature unit", TEMPERATURE_UNIT, " in {}"),
        say=(
            "What is the weather in {city}{date}{unit}?",
            "Get the weather forecast for {city}{date}{unit}",
            "Tell me how the weather is in {city}{date}{unit}",
            "I need the forecast for {city}{date}{unit}",
        ),
    ),
    tool(
        "get_air_quality",
        "Check the air quality in a city",
        required("city", "city to check", CITY),
        optional(
            "forecast_days", "number of days to look ahead", count(2, 9), " for the next {} days"
        ),
        say=(
            "How good is the air quality in {city}{forecast_days}?",
            "Check the air quality in {city}{forecast_days}",
            "I want to know how clean the air in {city} is{forecast_days}",
        ),
    ),
    tool(
        "get_sunrise",
        "Get the time of sunrise in a city",
        required("city", "city of the sunrise", CITY),
        required("date", "date of the sunrise", DATE),
        say=(
            "When is the sunrise in {city} on {date}?",
            "Find the time of sunrise in {city} on {date}",
            "I want to see the sunrise in {city} on {date}, so tell me when it is",
        ),
    ),
    tool(
        "set_storm_alert",
        "Set a storm alert for a city",
        required("city", "city to watch", CITY),
        required("wind_speed", "wind speed in kilometers per hour", whole(40, 140, 5)),
        say=(
            "Set a storm alert for {city} when the wind is above {wind_speed} kilometers per hour",
            "Warn me about any storm in {city} with a wind speed over {wind_speed}",
            "I need a storm alert for {city} at a wind speed of {wind_speed}",
        ),
    ),
    tool(
        "get_snow_depth",
        "Get the depth of snow in a city",
        required("city", "city with snow", CITY),
        optional("date", "date of the snow report", DATE, " on {}"),
        say=(
            "How deep is the snow in {city}{date}?",
            "Get the depth of the snow in {city}{date}",
            "I need to know the snow depth in {city}{date}",
        ),
        heldout=True,
    ),
)

FLIGHTS = domain(
    "flights",
    tool(
        "search_flights",
        "Search flights between two cities",
        required("origin", "city to leave from", CITY),
        required("destination", "city to fly to", CITY),
        required("date", "date of the flight", DATE),
        optional("cabin", "cabin class", CABIN, " in {}"),
        say=(
            "Find flights from {origin} to {destination} on {date}{cabin}",
            "Search for flights leaving from {origin} to {destination} on {date}{cabin}",
            "Which flights go from {origin} to {destination} on {date}{cabin}?",
            "I want to search for flights to {destination} from {origin} on {date}{cabin}",
        ),
    ),
    tool(
        "get_flight_status",
        "Check whether a flight is delayed",
        required("flight", "code of the flight", CODE),
        optional("date", "date of the flight", DATE, " on {}"),
        say=(
            "Is flight {flight} delayed{date}?",
            "Check the delay of flight {flight}{date}",
            "Check whether flight {flight} is on time or delayed{date}",
        ),
    ),
    tool(
        "choose_seat",
        "Choose a seat on a flight",
        required("booking", "code of the booking", CODE),
        required("row", "number of the row", whole(1, 40)),
        required("position", "seat position", choice("window", "middle", "aisle")),
        say=(
            "Choose a {position} seat in row {row} for booking {booking}",
            "Give me the {position} seat in row {row} under booking {booking}",
            "I want a {position} seat in row {row} for booking {booking}",
        ),
    ),
    tool(
        "cancel_flight",
        "Cancel a flight and ask for a refund",
        required("booking", "code of the booking", CODE),
        optional(
            "refund",
            "whether to ask for a refund",
            flag("with a refund", "without a refund"),
        ),
        say=(
            "Cancel my flight with booking {booking}{refund}",
            "Cancel the flight under booking {booking}{refund}",
            "I have to cancel my flight, booking {booking},{refund} please",
        ),
    ),
    tool(
        "add_baggage",
        "Add bags to a flight booking",
        required("booking", "code of the booking", CODE),
        required("bags", "number of bags", count(2, 6)),
        optional("weight", "weight of a bag in kilograms", number(5, 30), " of {} kilograms each"),
        say=(
            "Add {bags} bags{weight} to booking {booking}",
            "I want to take {bags} bags{weight} on booking {booking}",
            "Put {bags} more bags{weight} on my flight with booking {booking}",
        ),
        heldout=True,
    ),
)

HOTELS = domain(
    "hotels",
    tool(
        "book_hotel",
        "Book a hotel room",
        required("hotel", "name of the hotel", HOTEL),
        required("check_in", "date of arrival", DATE),
        required("nights", "number of nights", count(2, 14)),
        optional(
            "breakfast",
            "whether breakfast is included",
            flag("with breakfast", "without breakfast"),
        ),
        say=(
            "Book a room at the {hotel} for {nights} nights{breakfast}, arriving on {check_in}",
            "I want to book a room at the {hotel} from {check_in} for {nights} nights{breakfast}",
            "Book a hotel room at the {hotel} from {check_in} for {nights} nights{breakfast}",
        ),
    ),
    tool(
        "search_hotels",
        "Search for hotels in a city",
        required("city", "city of the hotel", CITY),
        optional(
            "max_price", "highest price per night", whole(50, 400, 5), " for at most {} a night"
        ),
        optional("sort", "order of the results", SORT, ", {}"),
        say=(
            "Find hotels in {city}{max_price}{sort}",
            "Search for hotels in {city}{max_price}{sort}",
            "I want to search for hotels in {city}{max_price}{sort}",
        ),
    ),
    tool(
        "order_room_service",
        "Order room service in a hotel",
        required("room", "number of the room", whole(100, 999)),
        required("items", "items to bring", listing(DISH, 2, 3)),
        optional("time", "time to bring it", TIME, " at {}"),
        say=(
            "Order room service for room {room}{time}: {items}",
            "Let room service bring {items} to room {room}{time}",
            "Ask room service to bring {items} to room {room}{time}",
        ),
    ),
    tool(
        "request_late_checkout",
        "Ask for a late checkout from a hotel room",
        required("room", "number of the room", whole(100, 999)),
        required("time", "time of the checkout", TIME),
        say=(
            "Ask for a late checkout from room {room} at {time}",
            "I want a late checkout at {time} for room {room}",
            "Can room {room} have a late checkout at {time}?",
        ),
        heldout=True,
    ),
)

TRANSPORT = domain(
    "transport",
    tool(
        "order_taxi",
        "Order a taxi",
        required("pickup", "address to be picked up from", STREET),
        required("destination", "address to go to", STREET),
        optional("time", "time of the taxi", TIME, " at {}"),
        optional("passengers", "number of passengers", count(2, 6), " for {} passengers"),
        say=(
            "Order a taxi{passengers} from {pickup} to {destination}{time}",
            "I need a taxi from {pickup} to {destination}{time}{passengers}",
            "Send a taxi to take me to {destination} from {pickup}{time}{passengers}",
        ),
    ),
    tool(
        "find_trains",
        "Find trains between two cities",
        required("origin", "city to leave from", CITY),
        required("destination", "city to arrive at", CITY),
        optional("departure", "time to leave", TIME, " leaving at {}"),
        optional("changes", "whether changes are allowed", flag("with changes", "without changes")),
        say=(
            "Find trains from {origin} to {destination}{departure}{changes}",
            "Which trains go from {origin} to {destination}{departure}{changes}?",
            "I want to take the train from {origin} to {destination}{departure}{changes}",
        ),
    ),
    tool(
        "rent_car",
        "Rent a car in a city",
        required("city", "city of the rental", CITY),
        required("start", "date of the first day", DATE),
        required("days", "number of days", count(2, 21)),
        optional("size", "size of the car", choice("small", "medium", "large"), "{} "),
        say=(
            "Rent a {size}car in {city} for {days} days from {start}",
            "I want to rent a {size}car in {city} from {start} for {days} days",
            "Get me a {size}rental car in {city} for {days} days starting on {start}",
        ),
    ),
    tool(
        "rent_bicycles",
        "Rent bicycles at a station",
        required("station", "name of the bicycle station", CITY),
        required("bicycles", "number of bicycles", count(2, 8)),
        optional("minutes", "length of the rental in minutes", MINUTES, " for {}"),
        say=(
            "Rent {bicycles} bicycles at {station} station{minutes}",
            "I want to rent {bicycles} bicycles from the station at {station}{minutes}",
            "Get {bicycles} bicycles at the station {station}{minutes}",
        ),
    ),
    tool(
        "plan_route",
        "Plan a route between two addresses",
        required("start", "address where the route starts", STREET),
        required("end", "address where the route ends", STREET),
        optional("mode", "way of moving", choice("walking", "driving", "cycling"), " by {}"),
        optional("tolls", "whether tolls are allowed", flag("with tolls", "without tolls")),
        say=(
            "Plan a route from {start} to {end}{mode}{tolls}",
            "What is the best route from {start} to {end}{mode}{tolls}?",
            "Show me the route that starts at {start} and ends at {end}{mode}{tolls}",
        ),
    ),
    tool(
        "find_parking",
        "Find a parking place near an address",
        required("address", "address to park near", STREET),
        optional("minutes", "length of stay in minutes", MINUTES, " for {}"),
        optional("covered", "whether the place is covered", flag("with cover", "without cover")),
        say=(
            "Find a parking place near {address}{minutes}{covered}",
            "Where is a parking place near {address}{minutes}{covered}?",
            "I need parking close to {address}{minutes}{covered}",
        ),
        heldout=True,
    ),
)

RESTAURANTS = domain(
    "restaurants",
    tool(
        "book_table",
        "Book a table at a restaurant",
        required("restaurant", "name of the restaurant", RESTAURANT),
        required("people", "number of people", count(2, 12)),
        required("time", "time of the booking", TIME),
        optional("date", "date of the booking", DATE, " on {}"),
        say=(
            "Book a table at {restaurant} for {people} people at {time}{date}",
            "I want to book a table for {people} people at {restaurant}{date} at {time}",
            "Get us a restaurant table at {restaurant} at {time}{date} for {people} people",
        ),
    ),
    tool(
        "order_food",
        "Order food from a restaurant",
        required("restaurant", "name of the restaurant", RESTAURANT),
        required("dishes", "dishes to order", listing(DISH, 2, 3)),
        optional("address", "address to deliver to", STREET, " to {}"),
        say=(
            "Order food from {restaurant}{address}: {dishes}",
            "Order {dishes}{address} as food from {restaurant}",
            "I want to order {dishes} from the restaurant {restaurant}",
        ),
    ),
    tool(
        "find_restaurants",
        "Find restaurants in a city",
        required("city", "city of the restaurants", CITY),
        required("cuisine", "kind of kitchen", CUISINE),
        optional("min_rating", "lowest rating in stars", number(2, 5), " with at least {} stars"),
        say=(
            "Find {cuisine} restaurants in {city}{min_rating}",
            "Which {cuisine} restaurants are there in {city}{min_rating}?",
            "Find restaurants in {city} with {cuisine} food{min_rating}",
        ),
    ),
    tool(
        "review_restaurant",
        "Write a review of a restaurant",
        required("restaurant", "name of the restaurant", RESTAURANT),
        required("stars", "number of stars", count(2, 5)),
        optional("comment", "comment of the review", TEXT, " with the comment {}"),
        say=(
            "Write a review of the restaurant {restaurant} with {stars} stars{comment}",
            "Review the restaurant {restaurant} and give it {stars} stars{comment}",
            "I want to write a restaurant review of {stars} stars for {restaurant}{comment}",
        ),
    ),
    tool(
        "cancel_table",
        "Cancel a table that was booked at a restaurant",
        required("restaurant", "name of the restaurant", RESTAURANT),
        required("name", "name of the guest", PERSON),
        say=(
            "Cancel the table at {restaurant} under the name {name}",
            "Cancel my booked table at {restaurant} for the guest {name}",
            "I must cancel a table at {restaurant}, the guest is {name}",
        ),
        heldout=True,
    ),
)

TOOLS = (*WEATHER, *FLIGHTS, *HOTELS, *TRANSPORT, *RESTAURANTS)
