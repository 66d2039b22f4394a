"""Files, servers, texts and words."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    CODE,
    COUNTRY,
    EMAIL,
    FILE,
    FOLDER,
    HOST,
    LANGUAGE,
    MINUTES,
    PRIORITY,
    SUBJECT,
    TEXT,
    TIME,
    USERNAME,
    WORD,
    choice,
    count,
    flag,
    listing,
    whole,
)

FILES = domain(
    "files",
    tool(
        "create_folder",
        "Create a folder",
        required("name", "name of the folder", FOLDER),
        optional("private", "whether it is private", flag("private", "public"), "{} "),
        say=(
            "Create a {private}folder named {name}",
            "Create a new {private}folder with the name {name}",
            "I want to create a {private}folder called {name}",
        ),
    ),
    tool(
        "rename_file",
        "Rename a file",
        required("old_name", "old name of the file", FILE),
        required("new_name", "new name of the file", FILE),
        say=(
            "Rename the file {old_name} to {new_name}",
            "Rename {old_name} as {new_name}",
            "I want to rename the old file {old_name} to {new_name}",
        ),
    ),
    tool(
        "delete_file",
        "Delete a file",
        required("file", "file to delete", FILE),
        optional("permanent", "whether to delete forever", flag("forever", "but not forever")),
        say=(
            "Delete the file {file}{permanent}",
            "I want to delete the file {file}{permanent}",
            "Delete my file {file}{permanent}",
        ),
    ),
    tool(
        "compress_files",
        "Compress files into an archive",
        required("files", "files to compress", listing(FILE, 2, 3)),
        required("archive", "name of the archive", FOLDER),
        say=(
            "Compress these files into the archive {archive}: {files}",
            "Compress {files} into an archive named {archive}",
            "Make the archive {archive} from the files {files}",
        ),
    ),
    tool(
        "move_file",
        "Move a file to a folder",
        required("file", "file to move", FILE),
        required("folder", "folder to move to", FOLDER),
        say=(
            "Move {file} to the folder {folder}",
            "Move the file {file} into {folder}",
            "I want the file {file} moved to the folder {folder}",
        ),
    ),
    tool(
        "share_file",
        "Share a file with a person by email",
        required("file", "file to share", FILE),
        required("email", "email of the person", EMAIL),
        optional(
            "editable", "whether edits are allowed", flag("with edits", "without edits"), " {}"
        ),
        say=(
            "Share {file} with {email}{editable}",
            "Share the file {file}{editable} with {email}",
            "I want to share the file {file} with {email}{editable}",
        ),
        heldout=True,
    ),
)

SERVERS = domain(
    "servers",
    tool(
        "create_user",
        "Create a user account on the system",
        required("username", "name of the user", USERNAME),
        required("email", "email of the user", EMAIL),
        optional(
            "role", "role of the user", choice("admin", "editor", "viewer"), " with the role {}"
        ),
        say=(
            "Create a user named {username} with the email {email}{role}",
            "Create an account for the user {username}, email {email}{role}",
            "I want to create the user {username}{role}, the email is {email}",
        ),
    ),
    tool(
        "reset_password",
        "Reset the password of a user",
        required("username", "name of the user", USERNAME),
        say=(
            "Reset the password of {username}",
            "Reset the password for the user {username}",
            "My user {username} lost the password, so reset it",
        ),
    ),
    tool(
        "restart_server",
        "Restart a server",
        required("server", "name of the server", HOST),
        optional("delay", "delay in minutes", MINUTES, " with a delay of {}"),
        optional("force", "whether to use force", flag("with force", "without force")),
        say=(
            "Restart the server {server}{force}{delay}",
            "Restart my server {server}{force}{delay}",
            "I want to restart the server {server}{force}{delay}",
        ),
    ),
    tool(
        "open_ticket",
        "Open a support ticket",
        required("summary", "summary of the problem", TEXT),
        optional("priority", "priority of the ticket", PRIORITY, "{} priority "),
        say=(
            "Open a {priority}support ticket with the summary {summary}",
            "Open a {priority}ticket that says {summary}",
            "I need a {priority}support ticket about this problem: {summary}",
        ),
    ),
    tool(
        "list_servers",
        "List all servers that are running",
        say=(
            "List all servers",
            "Which servers are running?",
            "Show a list of the running servers",
        ),
    ),
    tool(
        "block_ports",
        "Block ports of a server in the firewall",
        required("server", "name of the server", HOST),
        required("ports", "ports to block", listing(whole(20, 9000), 2, 4)),
        say=(
            "Block the ports {ports} on the server {server}",
            "Block these ports in the firewall of {server}: {ports}",
            "I want the firewall of {server} to block the ports {ports}",
        ),
    ),
    tool(
        "back_up_server",
        "Make a backup of a server",
        required("server", "name of the server", HOST),
        optional("time", "time of the backup", TIME, " at {}"),
        optional("label", "label of the backup", CODE, " with the label {}"),
        say=(
            "Make a backup of {server}{time}{label}",
            "I need a backup of the server {server}{time}{label}",
            "Start the backup of {server}{time}{label}",
        ),
        heldout=True,
    ),
)

LANGUAGE_TOOLS = domain(
    "language",
    tool(
        "translate_text",
        "Translate a text into a language",
        required("text", "text to translate", TEXT),
        required("language", "language to translate into", LANGUAGE),
        say=(
            "Translate {text} into {language}",
            "Translate the text {text} to the language {language}",
            "I want to translate {text} into {language}",
        ),
    ),
    tool(
        "count_words",
        "Count the words in a file",
        required("file", "file to count", FILE),
        say=(
            "Count the words in {file}",
            "How many words are in the file {file}?",
            "I want to count the words of the file {file}",
        ),
    ),
    tool(
        "write_essay",
        "Write an essay about a topic",
        required("topic", "topic of the essay", SUBJECT),
        required("words", "number of words", whole(100, 900, 50)),
        optional("language", "language of the essay", LANGUAGE, " in {}"),
        say=(
            "Write an essay about {topic}{language} with {words} words",
            "Write an essay of {words} words on the topic {topic}{language}",
            "I need an essay of {words} words about {topic}{language}",
        ),
    ),
    tool(
        "check_spelling",
        "Check the spelling of a text",
        required("text", "text to check", TEXT),
        optional("language", "language of the text", LANGUAGE, " in {}"),
        say=(
            "Check the spelling of {text}{language}",
            "Is the spelling of {text} right{language}?",
            "I want you to check the spelling{language} of the text {text}",
        ),
        heldout=True,
    ),
)

WORDS = domain(
    "words",
    tool(
        "define_word",
        "Give the meaning of a word",
        required("word", "word to look up", WORD),
        say=(
            "What is the meaning of {word}?",
            "Give me the meaning of the word {word}",
            "I want to know the meaning of {word}",
        ),
    ),
    tool(
        "find_rhymes",
        "Find words that rhyme with a word",
        required("word", "word to rhyme with", WORD),
        optional("limit", "number of results", count(3, 15), ", {} results", default=10),
        say=(
            "Which words rhyme with {word}{limit}?",
            "Find words that rhyme with {word}{limit}",
            "I need a rhyme for the word {word}{limit}",
        ),
    ),
    tool(
        "get_capital",
        "Get the capital of a country",
        required("country", "country of the capital", COUNTRY),
        say=(
            "What is the capital of {country}?",
            "Tell me the capital of {country}",
            "I want to know the capital of the country {country}",
        ),
    ),
    tool(
        "get_population",
        "Get the population of a country",
        required("country", "country of the population", COUNTRY),
        optional("year", "year of the number", whole(1950, 2024), " in the year {}"),
        say=(
            "What is the population of {country}{year}?",
            "Get the population of the country {country}{year}",
            "I need the population of {country}{year}",
        ),
    ),
    tool(
        "get_holidays",
        "List the public holidays of a country",
        required("country", "country of the holidays", COUNTRY),
        required("year", "year of the holidays", whole(2020, 2030)),
        say=(
            "Which public holidays does {country} have in {year}?",
            "List the public holidays of {country} in {year}",
            "I need all holidays of the country {country} in the year {year}",
        ),
        heldout=True,
    ),
    tool(
        "find_synonyms",
        "Find synonyms of a word",
        required("word", "word to replace", WORD),
        optional("limit", "number of results", count(3, 15), ", {} results", default=10),
        say=(
            "Which synonyms does {word} have{limit}?",
            "Find synonyms of the word {word}{limit}",
            "I need synonyms of {word}{limit}",
        ),
        heldout=True,
    ),
)

TOOLS = (*FILES, *SERVERS, *LANGUAGE_TOOLS, *WORDS)
