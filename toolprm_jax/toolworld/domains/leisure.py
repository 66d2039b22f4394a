"""Music, films, sports and games."""

from __future__ import annotations

from ..spec import domain, optional, required, tool
from ..values import (
    ARTIST,
    CITY,
    DATE,
    FIRST_NAME,
    LANGUAGE,
    PERSON,
    SORT,
    TEAM,
    TIME,
    TITLE,
    USERNAME,
    choice,
    count,
    flag,
    listing,
    number,
    whole,
)

GENRE = choice("comedy", "drama", "horror", "thriller", "romance")

MUSIC = domain(
    "music",
    tool(
        "play_song",
        "Play a song",
        required("song", "title of the song", TITLE),
        optional("artist", "artist of the song", ARTIST, " by {}"),
        optional("shuffle", "whether to shuffle after it", flag("with shuffle", "without shuffle")),
        say=(
            "Play the song {song}{artist}{shuffle}",
            "Play {song}{artist}{shuffle}",
            "I want to hear the song {song}{artist}{shuffle}",
        ),
    ),
    tool(
        "create_playlist",
        "Create a playlist of songs",
        required("name", "name of the playlist", TITLE),
        required("songs", "songs to put in", listing(TITLE, 2, 3)),
        say=(
            "Create a playlist named {name} with the songs {songs}",
            "Make the playlist {name} from these songs: {songs}",
            "I want a playlist called {name} with {songs}",
        ),
    ),
    tool(
        "set_volume",
        "Set the volume of the music",
        required("level", "level in percent", whole(5, 100, 5)),
        optional(
            "room", "room of the speaker", choice("kitchen", "bedroom", "office"), " in the {}"
        ),
        say=(
            "Set the volume{room} to {level} percent",
            "Turn the volume of the music{room} to {level} percent",
            "I want the volume{room} at {level} percent",
        ),
    ),
    tool(
        "pause_music",
        "Pause the music",
        say=(
            "Pause the music",
            "Please pause the music that is playing",
            "I want the music to pause",
        ),
    ),
    tool(
        "find_concerts",
        "Find concerts of an artist",
        required("artist", "artist of the concert", ARTIST),
        optional("city", "city of the concert", CITY, " in {}"),
        optional("date", "date of the concert", DATE, " on {}"),
        say=(
            "Find concerts of {artist}{city}{date}",
            "Which concerts does {artist} play{city}{date}?",
            "I want to see a concert of {artist}{city}{date}",
        ),
        heldout=True,
    ),
)

FILMS = domain(
    "films",
    tool(
        "search_movies",
        "Search movies by genre",
        required("genre", "genre of the movies", GENRE),
        optional("year", "year of the movies", whole(1960, 2024), " from the year {}"),
        optional("sort", "order of the results", SORT, ", {}"),
        say=(
            "Search for {genre} movies{year}{sort}",
            "Which {genre} movies are there{year}{sort}?",
            "I want to see movies of the genre {genre}{year}{sort}",
        ),
    ),
    tool(
        "buy_cinema_tickets",
        "Buy tickets for the cinema",
        required("movie", "title of the movie", TITLE),
        required("tickets", "number of tickets", count(2, 10)),
        required("time", "time of the show", TIME),
        say=(
            "Buy {tickets} cinema tickets for {movie} at {time}",
            "Get {tickets} tickets for the movie {movie} in the cinema at {time}",
            "I want {tickets} cinema tickets for {movie}, the show at {time}",
        ),
    ),
    tool(
        "rate_movie",
        "Rate a movie",
        required("movie", "title of the movie", TITLE),
        required("rating", "rating out of ten", number(1, 10)),
        say=(
            "Rate the movie {movie} with {rating} out of ten",
            "Rate {movie} with a rating of {rating}",
            "I rate the movie {movie} with {rating} out of ten",
        ),
    ),
    tool(
        "record_show",
        "Record a show on television",
        required("show", "title of the show", TITLE),
        required("channel", "number of the channel", whole(2, 99)),
        required("time", "time of the show", TIME),
        optional("date", "date of the show", DATE, " on {}"),
        say=(
            "Record the show {show} on channel {channel} at {time}{date}",
            "Record {show} at {time}{date} on channel {channel}",
            "I want the show {show} recorded from channel {channel} at {time}{date}",
        ),
    ),
    tool(
        "get_subtitles",
        "Download the subtitles of a movie",
        required("movie", "title of the movie", TITLE),
        required("language", "language of the subtitles", LANGUAGE),
        say=(
            "Download {language} subtitles for {movie}",
            "Get the subtitles of the movie {movie} in {language}",
            "I need {language} subtitles for the movie {movie}",
        ),
        heldout=True,
    ),
)

SPORTS = domain(
    "sports",
    tool(
        "get_match_score",
        "Get the score of a match between two teams",
        required("home", "team at home", TEAM),
        required("away", "team that visits", TEAM),
        optional("date", "date of the match", DATE, " on {}"),
        say=(
            "What is the score of the match {home} against {away}{date}?",
            "Get the score of the match between {home} and {away}{date}",
            "I want the score of {home} against {away}{date}",
        ),
    ),
    tool(
        "get_league_table",
        "Get the table of a league",
        required("country", "country of the league", choice("France", "Spain", "Italy", "Brazil")),
        required("season", "year of the season", whole(1990, 2025)),
        say=(
            "Show the league table of {country} for the season {season}",
            "Get the table of the league in {country} for {season}",
            "I want the {season} league table of {country}",
        ),
    ),
    tool(
        "buy_match_tickets",
        "Buy tickets for a match of a team",
        required("team", "team to see", TEAM),
        required("tickets", "number of tickets", count(2, 10)),
        required("date", "date of the match", DATE),
        optional(
            "block",
            "block in the stadium",
            choice("north", "south", "east", "west"),
            " in block {}",
        ),
        say=(
            "Buy {tickets} tickets{block} for the match of {team} on {date}",
            "Get {tickets} match tickets{block} for the team {team} on {date}",
            "I want {tickets} tickets{block} to see the match of {team} on {date}",
        ),
    ),
    tool(
        "follow_team",
        "Follow the results of a team",
        required("team", "team to follow", TEAM),
        optional("alerts", "whether to send alerts", flag("with alerts", "without alerts")),
        say=(
            "Follow the team {team}{alerts}",
            "Follow the results of {team}{alerts}",
            "I want to follow {team}{alerts}",
        ),
    ),
    tool(
        "get_player_goals",
        "Get the number of goals of a player",
        required("player", "name of the player", PERSON),
        optional("season", "year of the season", whole(1990, 2025), " in the season {}"),
        say=(
            "How many goals did the player {player} score{season}?",
            "Get the number of goals of {player}{season}",
            "I want to know the goals of the player {player}{season}",
        ),
        heldout=True,
    ),
)

GAMES = domain(
    "games",
    tool(
        "start_game",
        "Start a game with players",
        required("game", "name of the game", choice("chess", "checkers", "poker", "dominoes")),
        required("players", "names of the players", listing(FIRST_NAME, 2, 4)),
        say=(
            "Start a game of {game} with the players {players}",
            "Start the game {game} with {players}",
            "I want to start a game of {game} with {players}",
        ),
    ),
    tool(
        "save_game",
        "Save the game that is running",
        say=("Save the game", "Save the game that we are playing", "I want to save my game"),
    ),
    tool(
        "get_high_scores",
        "Show the best scores of a player",
        required("player", "name of the player", USERNAME),
        optional("limit", "number of scores", count(3, 20), "{} ", default=10),
        say=(
            "Show the {limit}best scores of {player}",
            "What are the {limit}best scores of the player {player}?",
            "I want to see the {limit}best scores of {player}",
        ),
    ),
    tool(
        "add_friend",
        "Add a player as a friend",
        required("player", "name of the player", USERNAME),
        optional("nickname", "nickname of the friend", FIRST_NAME, " with the nickname {}"),
        say=(
            "Add {player} as a friend{nickname}",
            "Add the player {player} to my friends{nickname}",
            "I want the player {player} as a friend{nickname}",
        ),
    ),
    tool(
        "set_difficulty",
        "Set the level of a game",
        required("game", "name of the game", choice("chess", "checkers", "poker", "dominoes")),
        required("level", "level of the game", choice("easy", "normal", "hard")),
        say=(
            "Set the level of {game} to {level}",
            "Set the game {game} to the level {level}",
            "I want the {game} game at the level {level}",
        ),
        heldout=True,
    ),
)

TOOLS = (*MUSIC, *FILMS, *SPORTS, *GAMES)
