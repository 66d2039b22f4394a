"""Libraries, museums and schools."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CODE,
    DATE,
    FILE,
    LANGUAGE,
    MINUTES,
    MUSEUM,
    PERSON,
    SUBJECT,
    TIME,
    TITLE,
    WEEKDAY,
    choice,
    count,
    flag,
    number,
    whole,
)

LEVEL = choice("easy", "normal", "hard")

LIBRARY = domain(
    "library",
    tool(
        "find_books",
        "Find books about a subject in the library",
        required("subject", "subject of the books", SUBJECT),
        optional("language", "language of the books", LANGUAGE, " in {}"),
        say=(
            "Find books about {subject}{language} in the library",
            "Which books about {subject}{language} does the library have?",
            "I want to read books about {subject}{language}",
        ),
    ),
    tool(
        "reserve_book",
        "Reserve a book at the library",
        required("title", "title of the book", TITLE),
        required("member", "name of the member", PERSON),
        optional("until", "date when it ends", DATE, " until {}"),
        say=(
            "Reserve the book {title} for the member {member}{until}",
            "Reserve {title} at the library for {member}{until}",
            "I want the book {title} reserved for {member}{until}",
        ),
    ),
    tool(
        "renew_book",
        "Renew a book that was borrowed",
        required("title", "title of the book", TITLE),
        required("days", "number of days", count(3, 30)),
        say=(
            "Renew the book {title} for {days} days",
            "Renew the borrowed book {title} for {days} more days",
            "I have borrowed {title} and want to renew it for {days} days",
        ),
    ),
    tool(
        "get_opening_hours",
        "Get the opening hours of the library",
        required("day", "day of the week", WEEKDAY),
        say=(
            "What are the opening hours of the library on {day}?",
            "Get the opening hours of the library on {day}",
            "I want to visit the library on {day}, so tell me the hours",
        ),
    ),
    tool(
        "suggest_purchase",
        "Suggest that the library buys a book",
        required("title", "title of the book", TITLE),
        required("author", "author of the book", PERSON),
        say=(
            "Suggest that the library buys {title} by the author {author}",
            "Suggest the book {title} by {author} to the library",
            "I want to suggest that you buy the book {title} by {author}",
        ),
        heldout=True,
    ),
)

MUSEUMS = domain(
    "museums",
    tool(
        "buy_museum_tickets",
        "Buy tickets for a museum",
        required("museum", "name of the museum", MUSEUM),
        required("tickets", "number of tickets", count(2, 12)),
        required("date", "date of the visit", DATE),
        say=(
            "Buy {tickets} tickets for the {museum} on {date}",
            "Get {tickets} museum tickets for the {museum} on {date}",
            "I want {tickets} tickets to visit the {museum} on {date}",
        ),
    ),
    tool(
        "book_guided_tour",
        "Book a tour with a guide in a museum",
        required("museum", "name of the museum", MUSEUM),
        required("time", "time of the tour", TIME),
        required("people", "number of people", count(2, 12)),
        optional("language", "language of the guide", LANGUAGE, " in {}"),
        say=(
            "Book a tour{language} of the {museum} for {people} people at {time}",
            "I need a guide{language} at the {museum} at {time} for {people} people",
            "Book a guide{language} for {people} people in the {museum} at {time}",
        ),
    ),
    tool(
        "find_exhibits",
        "Find what a museum shows about a subject",
        required("museum", "name of the museum", MUSEUM),
        required("subject", "subject of the show", SUBJECT),
        say=(
            "What does the {museum} show about {subject}?",
            "Find what the {museum} shows on the subject {subject}",
            "I want to see what the {museum} shows about {subject}",
        ),
    ),
    tool(
        "rent_audio_guide",
        "Rent audio guides in a language",
        required("guides", "number of guides", count(2, 12)),
        required("language", "language of the guides", LANGUAGE),
        say=(
            "Rent {guides} audio guides in {language}",
            "I want to rent {guides} audio guides in {language}",
            "Get {guides} audio guides in the language {language}",
        ),
    ),
    tool(
        "donate_to_museum",
        "Donate money to a museum",
        required("museum", "name of the museum", MUSEUM),
        required("amount", "amount in dollars", number(10, 900, 2)),
        optional("name", "name of the person", PERSON, " under the name {}"),
        say=(
            "Donate {amount} dollars to the {museum}{name}",
            "Donate an amount of {amount} dollars to the {museum}{name}",
            "I want to donate {amount} dollars to the {museum}{name}",
        ),
    ),
    tool(
        "check_museum_ticket",
        "Check a museum ticket by its code",
        required("ticket", "code of the ticket", CODE),
        say=(
            "Check the museum ticket {ticket}",
            "Check whether the museum ticket with the code {ticket} is good",
            "I want to check my museum ticket {ticket}",
        ),
    ),
    heldout=True,
)

SCHOOL = domain(
    "school",
    tool(
        "enroll_course",
        "Enroll a student in a course",
        required("student", "name of the student", PERSON),
        required("course", "subject of the course", SUBJECT),
        optional("online", "whether it is online", flag("online", "in person"), " {}"),
        say=(
            "Enroll {student} in the course on {course}{online}",
            "Enroll the student {student} in a course about {course}{online}",
            "I want to enroll {student} in the {course} course{online}",
        ),
    ),
    tool(
        "submit_homework",
        "Submit homework as a file",
        required("file", "file to submit", FILE),
        required("course", "subject of the course", SUBJECT),
        say=(
            "Submit {file} as homework for the course {course}",
            "Submit the file {file} as my {course} homework",
            "My homework for {course} is the file {file}, so submit it",
        ),
    ),
    tool(
        "book_tutor",
        "Book a lesson with a tutor",
        required("tutor", "name of the tutor", PERSON),
        required("subject", "subject of the lesson", SUBJECT),
        required("date", "date of the lesson", DATE),
        optional("minutes", "length in minutes", MINUTES, " for {}"),
        say=(
            "Book a lesson on {subject} with {tutor} on {date}{minutes}",
            "I need a lesson with the tutor {tutor} about {subject} on {date}{minutes}",
            "Book the tutor {tutor} on {date}{minutes} for a lesson about {subject}",
        ),
    ),
    tool(
        "get_grades",
        "Get the grades of a student",
        required("student", "name of the student", PERSON),
        optional("year", "year of the grades", whole(2015, 2025), " in {}"),
        say=(
            "What grades does {student} have{year}?",
            "Get the grades of {student}{year}",
            "I want to see the grades of the student {student}{year}",
        ),
    ),
    tool(
        "make_quiz",
        "Make a quiz about a subject",
        required("subject", "subject of the quiz", SUBJECT),
        required("questions", "number of questions", count(3, 25)),
        optional("level", "level of the quiz", LEVEL, "{} "),
        say=(
            "Make a {level}quiz about {subject} with {questions} questions",
            "I want a {level}quiz of {questions} questions about {subject}",
            "Make a {level}quiz with {questions} questions on the subject {subject}",
        ),
        heldout=True,
    ),
)

TOOLS = (*LIBRARY, *MUSEUMS, *SCHOOL)
