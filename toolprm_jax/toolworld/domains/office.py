"""Calendar, messages and tasks."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CHORE,
    DATE,
    EMAIL,
    FIRST_NAME,
    FOLDER,
    FREQUENCY,
    MINUTES,
    PERSON,
    PHONE,
    PRIORITY,
    TEXT,
    TIME,
    TITLE,
    count,
    flag,
    listing,
    whole,
)

CALENDAR = domain(
    "calendar",
    tool(
        "create_event",
        "Create an event in the calendar",
        required("title", "title of the event", TITLE),
        required("date", "date of the event", DATE),
        required("time", "time when it starts", TIME),
        optional("minutes", "length in minutes", MINUTES, " for {}"),
        say=(
            "Create an event {title} on {date} at {time}{minutes}",
            "Create the event {title} in my calendar on {date} at {time}{minutes}",
            "I want to create an event called {title} on {date} at {time}{minutes}",
        ),
    ),
    tool(
        "delete_event",
        "Delete an event from the calendar",
        required("title", "title of the event", TITLE),
        optional("date", "date of the event", DATE, " on {}"),
        say=(
            "Delete the event {title}{date}",
            "Delete {title}{date} from my calendar",
            "I want the event {title}{date} deleted",
        ),
    ),
    tool(
        "list_events",
        "List the events of a day",
        required("date", "date of the day", DATE),
        say=(
            "List my events on {date}",
            "Which events do I have on {date}?",
            "Show a list of all events on the day {date}",
        ),
    ),
    tool(
        "invite_guests",
        "Invite guests to an event",
        required("title", "title of the event", TITLE),
        required("guests", "names of the guests", listing(PERSON, 2, 3)),
        say=(
            "Invite these guests to {title}: {guests}",
            "Invite {guests} to the event {title}",
            "I want to invite the guests {guests} to {title}",
        ),
    ),
    tool(
        "book_meeting_room",
        "Book a meeting room",
        required("room", "number of the room", whole(10, 399)),
        required("date", "date of the meeting", DATE),
        required("time", "time of the meeting", TIME),
        optional("people", "number of people", count(3, 20), " for {} people"),
        say=(
            "Book meeting room {room} on {date} at {time}{people}",
            "I need the meeting room {room}{people} on {date} at {time}",
            "Get meeting room {room} at {time} on {date}{people}",
        ),
        heldout=True,
    ),
)

MESSAGES = domain(
    "messages",
    tool(
        "send_email",
        "Send an email",
        required("to", "address to send to", EMAIL),
        required("subject", "subject line", TITLE),
        optional("body", "text of the email", TEXT, " and the text {}"),
        optional("urgent", "whether it is urgent", flag("marked as urgent", "not urgent"), ", {}"),
        say=(
            "Send an email to {to} with the subject {subject}{body}{urgent}",
            "Email {to} with the subject line {subject}{body}{urgent}",
            "I want to send {to} an email with the subject {subject}{body}{urgent}",
        ),
    ),
    tool(
        "send_text_message",
        "Send a text message to a phone number",
        required("phone", "phone number", PHONE),
        required("message", "text of the message", TEXT),
        say=(
            "Send the message {message} to the phone number {phone}",
            "Text {phone} the message {message}",
            "I want to send a text message to {phone}: {message}",
        ),
    ),
    tool(
        "call_phone",
        "Call a phone number",
        required("phone", "phone number to call", PHONE),
        optional("speaker", "whether to use the speaker", flag("on speaker", "without speaker")),
        say=(
            "Call {phone}{speaker}",
            "Call the phone number {phone}{speaker}",
            "I want to call {phone}{speaker}",
        ),
    ),
    tool(
        "mute_chat",
        "Mute a chat with a person",
        required("person", "person in the chat", PERSON),
        optional("minutes", "length in minutes", MINUTES, " for {}"),
        say=(
            "Mute the chat with {person}{minutes}",
            "Mute {person} in the chat{minutes}",
            "I want to mute my chat with {person}{minutes}",
        ),
    ),
    tool(
        "read_unread_messages",
        "Read the unread messages aloud",
        say=(
            "Read my unread messages",
            "Read all new messages aloud",
            "I want to hear my unread messages",
        ),
    ),
    tool(
        "create_group_chat",
        "Create a group chat with members",
        required("name", "name of the group", TITLE),
        required("members", "members of the group", listing(FIRST_NAME, 2, 4)),
        say=(
            "Create a group chat named {name} with {members}",
            "Make the group {name} with the members {members}",
            "I want a group chat with {members} and call it {name}",
        ),
        heldout=True,
    ),
)

TASKS = domain(
    "tasks",
    tool(
        "add_task",
        "Add a task to the to-do list",
        required("task", "text of the task", CHORE),
        optional("due", "date when it is due", DATE, ", due on {}"),
        optional("priority", "priority of the task", PRIORITY, " with {} priority"),
        say=(
            "Add the task {task}{priority} to my list{due}",
            "Add {task} to the to-do list{priority}{due}",
            "I want to add the task {task}{priority}{due}",
        ),
    ),
    tool(
        "complete_task",
        "Mark a task as done",
        required("task", "text of the task", CHORE),
        say=(
            "Mark the task {task} as done",
            "Mark {task} as done",
            "I have done the task {task}",
        ),
    ),
    tool(
        "set_timer",
        "Start a timer",
        required("minutes", "minutes of the timer", MINUTES),
        optional("label", "label of the timer", TITLE, " with the label {}"),
        say=(
            "Start a timer of {minutes}{label}",
            "Set a timer for {minutes}{label}",
            "I want to start a timer for {minutes}{label}",
        ),
    ),
    tool(
        "set_alarm_clock",
        "Set the alarm clock to wake up",
        required("time", "time to wake up", TIME),
        optional("repeat", "how often it repeats", FREQUENCY, ", {}"),
        say=(
            "Set the alarm clock to {time}{repeat}",
            "Wake me up at {time}{repeat}",
            "I have to wake up at {time}{repeat}, so set the alarm clock",
        ),
    ),
    tool(
        "write_note",
        "Write a note",
        required("text", "text of the note", TEXT),
        optional("folder", "folder of the note", FOLDER, " in the folder {}"),
        say=(
            "Write a note{folder} that says {text}",
            "Make a note{folder}: {text}",
            "I want a note{folder} with the text {text}",
        ),
    ),
    tool(
        "stop_timer",
        "Stop the timer that is running",
        say=(
            "Stop the timer",
            "Stop the running timer",
            "I want the timer to stop",
        ),
    ),
    tool(
        "set_reminder",
        "Set a reminder to do something",
        required("text", "text of the reminder", CHORE),
        required("date", "date of the reminder", DATE),
        optional("time", "time of the reminder", TIME, " at {}"),
        say=(
            "Set a reminder {text} on {date}{time}",
            "I need a reminder on {date}{time} with the text {text}",
            "Give me the reminder {text} on {date}{time}",
        ),
        heldout=True,
    ),
)

TOOLS = (*CALENDAR, *MESSAGES, *TASKS)
