"""Banking, stocks, arithmetic, units and estimates."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    ACCOUNT,
    CITY,
    COMPANY,
    CURRENCY,
    DATE,
    MINUTES,
    PERCENT,
    PERSON,
    TEMPERATURE_UNIT,
    TEXT,
    TICKER,
    TIME,
    choice,
    count,
    flag,
    listing,
    number,
    whole,
)

LENGTH_UNIT = choice("meters", "feet", "miles", "kilometers", "inches")
WEIGHT_UNIT = choice("grams", "kilograms", "pounds", "ounces")

BANKING = domain(
    "banking",
    tool(
        "transfer_money",
        "Transfer money to a person",
        required("recipient", "person who gets the money", PERSON),
        required("amount", "amount of money", number(5, 900, 2)),
        optional("currency", "currency of the amount", CURRENCY, " {}"),
        optional("note", "note of the transfer", TEXT, " with the note {}"),
        say=(
            "Transfer {amount}{currency} to {recipient}{note}",
            "Transfer an amount of {amount}{currency} to {recipient}{note}",
            "I want to send {recipient} a money transfer of {amount}{currency}{note}",
        ),
    ),
    tool(
        "get_balance",
        "Get the balance of a bank account",
        required("account", "number of the account", ACCOUNT),
        optional("date", "date of the balance", DATE, " on {}"),
        say=(
            "What is the balance of account {account}{date}?",
            "Get the balance of the bank account {account}{date}",
            "I want the balance of my account {account}{date}",
        ),
    ),
    tool(
        "pay_bill",
        "Pay a bill to a company",
        required("company", "company to pay", COMPANY),
        required("amount", "amount in dollars", number(10, 600, 2)),
        optional("account", "account to pay from", ACCOUNT, " from account {}"),
        say=(
            "Pay the bill of {company} over {amount} dollars{account}",
            "Pay {company} a bill of {amount} dollars{account}",
            "I have to pay a bill of {amount} dollars to {company}{account}",
        ),
    ),
    tool(
        "freeze_card",
        "Freeze a bank card",
        required("card", "number of the card", ACCOUNT),
        optional("reason", "reason to freeze", choice("lost", "stolen", "broken"), ", reason {}"),
        say=(
            "Freeze the card {card}{reason}",
            "Freeze my bank card {card}{reason}",
            "I want to freeze the card with the number {card}{reason}",
        ),
    ),
    tool(
        "exchange_currency",
        "Exchange money from one currency to another",
        required("amount", "amount of money", number(20, 2000, 2)),
        required("source", "currency to exchange from", CURRENCY),
        required("target", "currency to exchange to", CURRENCY),
        say=(
            "Exchange {amount} from {source} to {target}",
            "How much is {amount} {source} in exchange to {target}?",
            "I want to exchange {amount} {source} to {target}",
        ),
    ),
    tool(
        "request_loan",
        "Request a loan from the bank",
        required("amount", "amount in dollars", whole(1000, 90000, 500)),
        required("months", "number of months", count(6, 60)),
        say=(
            "Request a loan of {amount} dollars for {months} months",
            "I need a loan of {amount} dollars over {months} months",
            "Ask the bank for a loan of {amount} dollars for {months} months",
        ),
        heldout=True,
    ),
)

STOCKS = domain(
    "stocks",
    tool(
        "get_stock_price",
        "Get the price of a stock",
        required("symbol", "symbol of the stock", TICKER),
        optional("date", "date of the price", DATE, " on {}"),
        say=(
            "What is the price of the stock {symbol}{date}?",
            "Get the stock price of {symbol}{date}",
            "I want the price of {symbol} stock{date}",
        ),
    ),
    tool(
        "trade_shares",
        "Buy or sell shares",
        required("side", "buy or sell", choice("buy", "sell")),
        required("shares", "number of shares", count(2, 300)),
        required("symbol", "symbol of the shares", TICKER),
        optional(
            "limit", "limit price in dollars", number(5, 400, 2), " with a limit of {} dollars"
        ),
        say=(
            "Please {side} {shares} shares of {symbol}{limit}",
            "I want to {side} {shares} shares of {symbol}{limit}",
            "Go and {side} {shares} shares of {symbol}{limit}",
        ),
    ),
    tool(
        "set_price_alert",
        "Set a price alert for a stock",
        required("symbol", "symbol of the stock", TICKER),
        required("price", "price in dollars", number(5, 400, 2)),
        required("direction", "direction of the price", choice("above", "below")),
        say=(
            "Set a price alert for {symbol} when it is {direction} {price} dollars",
            "Alert me when the price of {symbol} is {direction} {price} dollars",
            "I need a price alert for the stock {symbol}, {direction} {price} dollars",
        ),
    ),
    tool(
        "get_company_news",
        "Get the news about a company",
        required("company", "company in the news", COMPANY),
        optional("limit", "number of articles", count(3, 20), ", {} articles", default=10),
        optional("since", "date of the oldest article", DATE, " since {}"),
        say=(
            "Get the news about {company}{since}{limit}",
            "Show me news about the company {company}{since}{limit}",
            "I want to read news about {company}{since}{limit}",
        ),
        heldout=True,
    ),
)

ARITHMETIC = domain(
    "arithmetic",
    tool(
        "compute_average",
        "Compute the average of numbers",
        required("numbers", "numbers to average", listing(whole(1, 999), 3, 5)),
        say=(
            "What is the average of {numbers}?",
            "Compute the average of the numbers {numbers}",
            "I need the average of {numbers}",
        ),
    ),
    tool(
        "sort_numbers",
        "Sort a list of numbers",
        required("numbers", "numbers to sort", listing(whole(1, 999), 3, 5)),
        optional("descending", "largest first", flag("largest first", "smallest first"), " {}"),
        say=(
            "Sort these numbers{descending}: {numbers}",
            "Sort{descending} the numbers {numbers}",
            "I want you to sort{descending} the numbers {numbers}",
        ),
    ),
    tool(
        "compute_percentage",
        "Compute a percentage of a number",
        required("percent", "percent to take", PERCENT),
        required("value", "number to take it of", number(10, 3000)),
        say=(
            "What is {percent} percent of {value}?",
            "Compute {percent} percent of {value}",
            "I need {percent} percent of the number {value}",
        ),
    ),
    tool(
        "circle_area",
        "Compute the area of a circle",
        required("radius", "radius of the circle", number(0.5, 60)),
        optional("unit", "unit of length", LENGTH_UNIT, " {}"),
        say=(
            "What is the area of a circle with a radius of {radius}{unit}?",
            "Compute the area of a circle with radius {radius}{unit}",
            "I have a circle of radius {radius}{unit} and need the area",
        ),
    ),
    tool(
        "roll_dice",
        "Roll dice with a number of sides",
        required("dice", "number of dice", count(2, 12)),
        optional("sides", "sides of each", whole(4, 100, 2), " with {} sides", default=6),
        say=(
            "Roll {dice} dice{sides}",
            "Please roll {dice} dice{sides}",
            "I want to roll {dice} dice{sides}",
        ),
    ),
    tool(
        "factor_number",
        "Find the prime factors of a number",
        required("number", "number to factor", whole(20, 99999)),
        say=(
            "What are the prime factors of {number}?",
            "Find the prime factors of the number {number}",
            "I need the factors of {number} that are prime",
        ),
        heldout=True,
    ),
)

UNITS = domain(
    "units",
    tool(
        "convert_length",
        "Convert a length to another unit",
        required("value", "length to convert", number(1, 500)),
        required("source", "unit to convert from", LENGTH_UNIT),
        required("target", "unit to convert to", LENGTH_UNIT),
        say=(
            "Convert a length of {value} {source} to {target}",
            "Convert the length {value} from {source} to {target}",
            "I want to convert a length of {value} {source} to {target}",
        ),
    ),
    tool(
        "convert_temperature",
        "Convert a temperature to another unit",
        required("degrees", "degrees to convert", number(1, 200)),
        required("target", "unit to convert to", TEMPERATURE_UNIT),
        say=(
            "Convert the temperature of {degrees} degrees to {target}",
            "Which temperature in {target} is {degrees} degrees?",
            "I need a temperature of {degrees} degrees converted to {target}",
        ),
    ),
    tool(
        "convert_timezone",
        "Convert a time to the clock of a city",
        required("time", "time to convert", TIME),
        required("source", "city to convert from", CITY),
        required("target", "city to convert to", CITY),
        say=(
            "Convert the time {time} from {source} to {target}",
            "Convert {time} on the clock of {source} to the time in {target}",
            "I want to convert the time {time} from {source} to {target}",
        ),
    ),
    tool(
        "convert_weight",
        "Convert a weight to another unit",
        required("value", "weight to convert", number(1, 500)),
        required("source", "unit to convert from", WEIGHT_UNIT),
        required("target", "unit to convert to", WEIGHT_UNIT),
        say=(
            "Convert a weight of {value} {source} to {target}",
            "Convert the weight {value} from {source} to {target}",
            "I want to convert a weight of {value} {source} to {target}",
        ),
        heldout=True,
    ),
)

ESTIMATES = domain(
    "estimates",
    tool(
        "split_bill",
        "Split a sum between people",
        required("total", "sum in dollars", number(20, 500, 2)),
        required("people", "number of people", count(2, 12)),
        optional("tip", "tip in percent", whole(5, 25), " with a tip of {} percent"),
        say=(
            "Split a sum of {total} dollars between {people} people{tip}",
            "Split {total} dollars between {people} people{tip}",
            "I want to split {total} dollars between {people} people{tip}",
        ),
    ),
    tool(
        "compute_fuel_cost",
        "Compute the fuel needed for a distance",
        required("distance", "distance in kilometers", whole(10, 900)),
        optional(
            "consumption", "liters of fuel per hundred kilometers", number(3, 12), " at {} liters"
        ),
        say=(
            "How much fuel do I need for a distance of {distance} kilometers{consumption}?",
            "Compute the fuel for {distance} kilometers{consumption}",
            "I drive {distance} kilometers and want to know the fuel{consumption}",
        ),
    ),
    tool(
        "estimate_wage",
        "Compute the pay for hours of work",
        required("hours", "number of hours", count(2, 60)),
        required("rate", "rate in dollars per hour", number(9, 80, 2)),
        say=(
            "How much pay is {hours} hours of work at a rate of {rate} dollars?",
            "Compute the pay for {hours} hours at a rate of {rate} dollars",
            "I need the pay for {hours} hours of work at {rate} dollars per hour",
        ),
    ),
    tool(
        "compute_power_cost",
        "Compute the power that a device uses",
        required("watts", "watts of the device", whole(20, 3000, 10)),
        required("minutes", "minutes of use", MINUTES),
        say=(
            "How much power does a device of {watts} watts use in {minutes}?",
            "Compute the power of a device with {watts} watts for {minutes}",
            "I need the power that {watts} watts use in {minutes}",
        ),
        heldout=True,
    ),
)

TOOLS = (*BANKING, *STOCKS, *ARITHMETIC, *UNITS, *ESTIMATES)
