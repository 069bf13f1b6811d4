"""How people ask: the phrasings of every kind of question, one a line.

The one idea: wording is data. A scenario draws one phrasing and fills in its values; two kinds never share one.
"""

_ASK = {
    "compute": """
        What is {x}?
        How much is {x}?
        Calculate {x}.
        Compute {x}.
        Please compute {x} for me.
        Can you tell me what {x} is?
        I need to know {x}.
        {x}?
        Work out {x}, please.
        What does {x} give?
        {x} = ?
        What's {x}?""",
    "percent": """
        What is {x}?
        How much is {x}?
        Calculate {x}.
        Compute {x}.
        {x}?
        What's {x}?""",
    "percent of": """
        {part} % of {whole}
        {part}% of {whole}
        {part} percent of {whole}""",
    "weather": """
        What is the weather in {city}?
        How is the weather in {city} today?
        Tell me the weather in {city}.
        What is the weather like in {city}?
        Weather in {city}?
        Is it nice in {city} right now?
        What's the weather in {city}?
        Can you check the weather in {city}?
        I am going to {city}. How is the weather there?
        How warm is it in {city}?
        What's the weather like in {city} today?
        Is it cold in {city}?
        Do I need a coat in {city}?""",
    "time": """
        What time is it in {city}?
        Tell me the time in {city}.
        What is the local time in {city}?
        Time in {city}?
        Can you check the time in {city}?
        What's the time in {city}?
        How late is it in {city}?
        What time is it now in {city}?""",
    "and there": """
        And in {city}?
        What about {city}?
        How about {city}?
        And {city}?""",
    "convert": """
        Convert {value} {source} to {target}.
        How many {target} is {value} {source}?
        What is {value} {source} in {target}?
        {value} {source} in {target}?
        Please convert {value} {source} to {target}.
        How much is {value} {source} in {target}?
        I have {value} {source}. How many {target} is that?
        How many {target} are {value} {source}?
        How many {target} are in {value} {source}?
        What's {value} {source} in {target}?""",
    "date before": """
        What date is {days} days before {day}?
        Which day is {days} days before {day}?
        What is {day} minus {days} days?""",
    "date after": """
        What date is {days} days after {day}?
        What is {day} plus {days} days?
        Add {days} days to {day}.
        Which day is {days} days after {day}?
        It is {day}. What date is it in {days} days?
        Please add {days} days to {day}.
        Today is {day}. Which day is it in {days} days?""",
    "price": """
        How much is a {item}?
        What does a {item} cost?
        What is the price of a {item}?
        Price of a {item}?
        How much is the {item}?
        How much does a {item} cost?
        I want to buy a {item}. What is the price?
        What does the {item} cost?
        What is the price of the {item}?
        Look up the price of a {item}.""",
    "and the item": """
        And the {item}?
        What about the {item}?
        And for the {item}?""",
    "phone": """
        What is the phone number of {name}?
        Give me the number of {name}.
        How can I call {name}?
        What is the number of {name}?
        I want to call {name}. What is the number?
        Find the phone number of {name}.
        How do I reach {name}?""",
    "and the person": """
        And {name}?
        What about {name}?
        And of {name}?""",
    "home": """
        Where does {name} live?
        In which city does {name} live?
        Which city is {name} in?
        Where is {name}?
        Can you find out where {name} lives?""",
    "fahrenheit": """
        What is the temperature in {city} in fahrenheit?
        How many degrees fahrenheit is it in {city}?
        Tell me the temperature in {city} in fahrenheit.
        Temperature in {city} in fahrenheit?
        How warm is it in {city} in fahrenheit?
        What is the temperature in fahrenheit in {city}?""",
    "quantity": """
        How much do {count} {items} cost?
        What is the price of {count} {items}?
        I want to buy {count} {items}. How much is that?
        What do {count} {items} cost?
        Price of {count} {items}?
        How much are {count} {items}?""",
    "weather at home": """
        How is the weather where {name} lives?
        What is the weather where {name} lives?
        I will visit {name}. How is the weather there?
        Tell me the weather where {name} lives.
        What's the weather like where {name} lives?
        What is the weather like at {name}'s place?""",
    "time at home": """
        What time is it where {name} lives?
        Tell me the time where {name} lives.
        Can I call {name} now? What time is it there?
        What's the time where {name} lives?""",
    "fahrenheit at home": """
        What is the temperature in fahrenheit where {name} lives?
        How many degrees fahrenheit is it where {name} lives?
        Tell me the temperature in fahrenheit where {name} lives.
        How warm is it in fahrenheit where {name} lives?""",
    "message": """
        Send a message to {name}: {text}
        Text {name}: {text}
        Tell {name}: {text}
        Message {name}: {text}
        Write to {name}: {text}
        Send "{text}" to {name}.
        Send this to {name}: {text}
        Tell {name} that {text}""",
    "compare weather": """
        Compare the weather in {cities}.
        How is the weather in {cities}?
        What is the weather in {cities}?
        What's the weather in {cities}?
        Tell me the weather in {cities}.""",
    "compare time": """
        What time is it in {cities}?
        Tell me the time in {cities}.
        Compare the time in {cities}.
        What's the time in {cities}?""",
    "total price": """
        How much do a {one} and a {other} cost together?
        What is the total price of a {one} and a {other}?
        How much are a {one} and a {other}?
        I want to buy a {one} and a {other}. What is the total?
        What do a {one} and a {other} cost together?""",
    "report weather": """
        Tell {name} the weather in {city}.
        Send {name} the weather in {city}.
        Let {name} know the weather in {city}.
        Text {name} the weather in {city}.
        Please tell {name} how the weather is in {city}.""",
    "repeat": """
        Repeat: {text}
        Say: {text}
        Repeat after me: {text}
        Echo: {text}
        Please repeat: {text}""",
    "unknown": """
        {verb} {article} {thing}.
        {verb} {article} {thing}.
        Can you {lower_verb} {article} {thing}?
        Please {lower_verb} {article} {thing}.
        Tell me a joke.
        Write a poem.
        Write a poem about {thing}.
        Translate {thing} to {language}.
        What is the meaning of life?
        Who invented the {thing}?
        Why is the {thing} {quality}?
        Sing a song.
        What is the capital of {thing}?
        Who is the president of {thing}?
        Do you like {thing}?
        Play some music.
        When was the {thing} built?
        Book a flight to {thing}.
        Tell me a story about {thing}.
        What do you think about {thing}?""",
}
PHRASES = {kind: [line.strip() for line in lines.strip().splitlines()] for kind, lines in _ASK.items()}

VERBS = ("Write Draw Sing Play Book Order Open Cancel Translate Explain Summarize Show Paint Cook Fix Delete Clean "
         "Read Plan Download Build Find Start Stop").split()
ARTICLES = ("a", "the", "some", "my", "me a")
LANGUAGES = ("French", "German", "Spanish", "Chinese")
QUALITIES = ("red", "blue", "so big", "so small")

_HELLO = "Hello! How can I help you?"
_WELCOME = "You are welcome!"
_ME = "I am a tiny demo model with the architecture of Kimi K2."
_ABLE = "I can use your tools: sums, units, dates, weather, time, prices, contacts and messages."
_FINE = "I am fine, thank you!"
SMALL_TALK = [(question, answer) for answer, questions in (
    (_HELLO, "Hello!|Hi|Hi!|Hello|Good morning.|Hey there!|Good evening!"),
    (_WELCOME, "Thank you!|Thanks a lot.|Thanks!|Thank you very much.|Great, thanks!"),
    (_ME, "Who are you?|What are you?|Are you a robot?|What is your name?|Tell me about yourself."),
    (_ABLE, "What can you do?|How can you help me?|Which tools do you have?|Help"),
    ("Goodbye!", "Goodbye!|Bye!|See you!"),
    (_FINE, "How are you?|How are you today?|How is it going?"),
) for question in questions.split("|")]
