"""How the assistant answers each kind of question: what it thinks, which tools it calls, what it says.

The one idea: everything the assistant says is a function of what it has read, so one right continuation exists and
greedy decoding can be judged by exact match.
"""
import datetime
from typing import NamedTuple

from phrases import ARTICLES, LANGUAGES, PHRASES, QUALITIES, SMALL_TALK, VERBS
from slots import BLANK, UNITS, WEEKDAYS, number, number_text

DONE = "I have the result."
ALL_DONE = "I have all results."
NO_TOOL_NEEDED = "I can answer this without a tool."
SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


class Step(NamedTuple):
    """One assistant turn with calls."""
    thought: str
    calls: list                    # [(tool name, arguments)]
    results: list                  # one JSON value, or plain text, for each call


class Turn(NamedTuple):
    """One question with its whole run."""
    user: str
    steps: list
    thought: str                   # before the answer
    answer: str


def _call(thought, name, arguments, result):
    return Step(thought, [(name, arguments)], [result])


def _degrees(value):
    return f"{number_text(value)} degrees"


class Scenarios:
    """One method for each kind, drawing its values from `slots`. `follow` asks for the short form of a question that
    continues the one before ("And in Rome?")."""

    def __init__(self, slots):
        self.slots, self.random = slots, slots.random

    def _ask(self, kind, **values):
        return self.random.choice(PHRASES[kind]).format(**values)

    # Steps that several kinds share.

    def _compute(self, thought, expression, value):
        return _call(thought, "calculator", {"expression": expression}, {"result": value})

    def _look_up(self, thought, name):
        city, phone = self.slots.city(), self.slots.phone()
        step = _call(thought, "find_contact", {"name": name}, {"name": name, "phone": phone, "city": city})
        return phone, city, step

    def _observe(self, city):
        """-> (temperature, sky, the weather tool's result)."""
        temperature, sky = self.slots.temperature(), self.slots.sky()
        return temperature, sky, {"city": city, "temp_c": temperature, "sky": sky}

    def _to_fahrenheit(self, celsius):
        value = number(celsius * 9 / 5 + 32)
        step = _call(f"It is {celsius} degrees celsius. Now I convert it to fahrenheit.", "convert_units",
                     {"value": celsius, "from": "celsius", "to": "fahrenheit"}, {"value": value, "unit": "fahrenheit"})
        return value, step

    def _distinct(self, draw, count):
        values = []
        while len(values) < count:
            value = draw() if not self.slots.blank else BLANK * (len(values) + 1)
            if value not in values:
                values.append(value)
        return values

    # One call.

    def sum(self):
        s, r = self.slots, self.random
        a, b, sign = s.integer(), s.integer(), r.choice("+-*/")
        if sign == "*":
            b = s.integer(r.choice((1, 2, 3)))
        if sign == "/":
            b = s.integer(r.choice((1, 2)))
            a = b * s.integer(r.choice((1, 2, 3))) if s.chance(0.7) else a
        if s.chance(0.1):
            a = number(a + r.randint(1, 99) / 100)
        if s.chance(0.06):
            a = -a
        word, expression = SPOKEN[sign], f"{a}{sign}{b}"
        said = r.choice((f"{a} {word} {b}", f"{a} {word} {b}", f"{a} {sign} {b}", expression))
        if s.chance(0.25):
            c, sign = s.integer(r.choice((1, 2))), r.choice("+-")
            joint = SPOKEN[sign] if word in said else sign
            said += f" {joint} {c}" if " " in said else f"{sign}{c}"
            expression += f"{sign}{c}"
        return self._computed(expression, said)

    def expression(self):
        s, r = self.slots, self.random
        parts = [str(s.integer(r.choice((1, 2, 3)))) for _ in range(r.choice((3, 3, 4)))]
        signs = [r.choice("+-*/") for _ in parts[1:]]
        at = r.randrange(len(parts) - 1)
        parts[at], parts[at + 1] = "(" + parts[at], parts[at + 1] + ")"
        text = parts[0] + "".join(sign + part for sign, part in zip(signs, parts[1:]))
        try:
            eval(text)
        except ZeroDivisionError:
            text = text.replace("/", "+")
        return self._computed(text, text)

    def _computed(self, expression, said):
        value = number(eval(expression))
        step = self._compute(f"I need to compute {expression}.", expression, value)
        return Turn(self._ask("compute", x=said), [step], DONE, f"{expression} = {value}")

    def percent(self):
        s, r = self.slots, self.random
        part = s.integer(r.choice((1, 2, 2))) if s.chance(0.85) else number(s.integer(1) + 0.5)
        whole = s.integer(r.choice((2, 3, 4)))
        expression, value = f"{whole}*{part}/100", number(whole * part / 100)
        user = self._ask("percent", x=self._ask("percent of", part=part, whole=whole))
        step = self._compute(f"I need to compute {expression}.", expression, value)
        return Turn(user, [step], DONE, f"{part} percent of {whole} is {value}.")

    def weather(self, follow=False):
        city = self.slots.city()
        temperature, sky, result = self._observe(city)
        user = self._ask("and there" if follow else "weather", city=city)
        step = _call(f"I need the weather in {city}.", "get_weather", {"city": city}, result)
        return Turn(user, [step], DONE, f"It is {_degrees(temperature)} and {sky} in {city}.")

    def time(self, follow=False):
        city, clock = self.slots.city(), self.slots.clock()
        user = self._ask("and there" if follow else "time", city=city)
        step = _call(f"I need the time in {city}.", "get_time", {"city": city}, {"city": city, "time": clock})
        return Turn(user, [step], DONE, f"It is {clock} in {city}.")

    def convert(self):
        s, r = self.slots, self.random
        (source, target), factor = r.choice(list(UNITS.items()))
        value = s.integer(r.choice((1, 2, 2, 3, 4)))
        if s.chance(0.25):
            value = number(value + r.randint(1, 99) / r.choice((10, 100)))
        result = number(value * factor)
        user = self._ask("convert", value=value, source=source, target=target)
        step = _call(f"I need to convert {value} {source} to {target}.", "convert_units",
                     {"value": value, "from": source, "to": target}, {"value": result, "unit": target})
        return Turn(user, [step], DONE, f"{value} {source} is {result} {target}.")

    def date(self):
        r = self.random
        day = datetime.date(r.randint(1990, 2039), r.randint(1, 12), r.randint(1, 28))
        days = self.slots.integer(r.choice((1, 2, 3)))
        before = self.slots.chance(0.25)
        user = self._ask("date before" if before else "date after", days=days, day=day)
        days = -days if before else days
        end = day + datetime.timedelta(days)
        weekday = WEEKDAYS[end.weekday()]
        step = _call(f"I need to add {days} days to {day}.", "add_days", {"date": str(day), "days": days},
                     {"date": str(end), "weekday": weekday})
        return Turn(user, [step], DONE, f"It is {weekday}, {end}.")

    def price(self, follow=False):
        item, price = self.slots.item(), self.slots.price()
        user = self._ask("and the item" if follow else "price", item=item)
        step = _call(f"I need the price of the {item}.", "get_price", {"item": item}, {"item": item, "price": price})
        return Turn(user, [step], DONE, f"The {item} costs {price} dollars.")

    def phone(self, follow=False):
        name = self.slots.person()
        phone, _, step = self._look_up(f"I need to look up {name}.", name)
        user = self._ask("and the person" if follow else "phone", name=name)
        return Turn(user, [step], DONE, f"The number of {name} is {phone}.")

    def home(self):
        name = self.slots.person()
        _, city, step = self._look_up(f"I need to look up {name}.", name)
        return Turn(self._ask("home", name=name), [step], DONE, f"{name} lives in {city}.")

    # Chains: every step needs the result before it.

    def fahrenheit(self):
        city = self.slots.city()
        celsius, _, result = self._observe(city)
        fahrenheit, convert = self._to_fahrenheit(celsius)
        look = _call(f"First I need the weather in {city}.", "get_weather", {"city": city}, result)
        answer = f"It is {_degrees(fahrenheit)} fahrenheit in {city}."
        return Turn(self._ask("fahrenheit", city=city), [look, convert], DONE, answer)

    def quantity(self):
        item, price, count = self.slots.noun(), self.slots.price(), self.random.randint(2, 99)
        plural = item + ("es" if item.endswith(("ch", "sh", "s")) else "s")
        expression, total = f"{count}*{price}", number(count * price)
        look = _call(f"First I need the price of the {item}.", "get_price", {"item": item},
                     {"item": item, "price": price})
        compute = self._compute(f"The price is {price}. Now I compute {expression}.", expression, total)
        user = self._ask("quantity", count=count, items=plural)
        return Turn(user, [look, compute], DONE, f"The total is {total} dollars.")

    def weather_at_home(self):
        name = self.slots.person()
        _, city, look = self._look_up(f"First I look up {name}.", name)
        temperature, sky, result = self._observe(city)
        weather = _call(f"{name} lives in {city}. Now I need the weather there.", "get_weather", {"city": city}, result)
        answer = f"{name} lives in {city}. It is {_degrees(temperature)} and {sky} there."
        return Turn(self._ask("weather at home", name=name), [look, weather], DONE, answer)

    def time_at_home(self):
        name, clock = self.slots.person(), self.slots.clock()
        _, city, look = self._look_up(f"First I look up {name}.", name)
        time = _call(f"{name} lives in {city}. Now I need the time there.", "get_time", {"city": city},
                     {"city": city, "time": clock})
        answer = f"{name} lives in {city}. It is {clock} there."
        return Turn(self._ask("time at home", name=name), [look, time], DONE, answer)

    def fahrenheit_at_home(self):
        name = self.slots.person()
        _, city, look = self._look_up(f"First I look up {name}.", name)
        celsius, _, result = self._observe(city)
        fahrenheit, convert = self._to_fahrenheit(celsius)
        weather = _call(f"{name} lives in {city}. Now I need the weather there.", "get_weather", {"city": city}, result)
        answer = f"{name} lives in {city}. It is {_degrees(fahrenheit)} fahrenheit there."
        return Turn(self._ask("fahrenheit at home", name=name), [look, weather, convert], DONE, answer)

    def message(self):
        name, text = self.slots.person(), self.slots.words(2, 7)
        if self.slots.chance(0.15):
            text += self.random.choice("?!.")
        phone, _, look = self._look_up(f"First I look up {name}.", name)
        send = _call("Now I send the message.", "send_message", {"to": phone, "text": text}, {"sent": True})
        user = self._ask("message", name=name, text=text)
        return Turn(user, [look, send], "The message is sent.", f"I sent the message to {name}.")

    # Several calls at once.

    def compare_weather(self, count=2):
        cities = self._distinct(self.slots.city, count)
        observed = [self._observe(city) for city in cities]
        listed = ", ".join(cities[:-1]) + " and " + cities[-1]
        calls = [("get_weather", {"city": city}) for city in cities]
        step = Step(f"I need the weather in {listed}.", calls, [result for _, _, result in observed])
        answer = " ".join(f"It is {_degrees(temperature)} and {sky} in {city}."
                          for city, (temperature, sky, _) in zip(cities, observed))
        return Turn(self._ask("compare weather", cities=listed), [step], ALL_DONE, answer)

    def compare_three(self):
        return self.compare_weather(3)

    def compare_time(self):
        cities = self._distinct(self.slots.city, 2)
        clocks = [self.slots.clock() for _ in cities]
        listed = " and ".join(cities)
        step = Step(f"I need the time in {listed}.", [("get_time", {"city": city}) for city in cities],
                    [{"city": city, "time": clock} for city, clock in zip(cities, clocks)])
        answer = " ".join(f"It is {clock} in {city}." for city, clock in zip(cities, clocks))
        return Turn(self._ask("compare time", cities=listed), [step], ALL_DONE, answer)

    def total_price(self):
        items = self._distinct(self.slots.item, 2)
        prices = [self.slots.price() for _ in items]
        expression, total = f"{prices[0]}+{prices[1]}", number(sum(prices))
        look = Step(f"First I need the prices of the {items[0]} and the {items[1]}.",
                    [("get_price", {"item": item}) for item in items],
                    [{"item": item, "price": price} for item, price in zip(items, prices)])
        compute = self._compute(f"Now I compute {expression}.", expression, total)
        user = self._ask("total price", one=items[0], other=items[1])
        return Turn(user, [look, compute], DONE, f"The total is {total} dollars.")

    def report_weather(self):
        city, name = self.slots.city(), self.slots.person()
        temperature, sky, result = self._observe(city)
        phone, home = self.slots.phone(), self.slots.city()
        text = f"It is {_degrees(temperature)} and {sky} in {city}."
        look = Step(f"I need the weather in {city} and the number of {name}.",
                    [("get_weather", {"city": city}), ("find_contact", {"name": name})],
                    [result, {"name": name, "phone": phone, "city": home}])
        send = _call("Now I send the message.", "send_message", {"to": phone, "text": text}, {"sent": True})
        user = self._ask("report weather", name=name, city=city)
        return Turn(user, [look, send], "The message is sent.", f"I told {name}: {text}")

    # No call.

    def talk(self):
        user, answer = self.random.choice(SMALL_TALK)
        return Turn(user, [], NO_TOOL_NEEDED, answer)

    def repeat(self, low=2, high=6):
        s = self.slots
        draws = (s.made_up_word, s.city, s.person, s.item, s.sky, lambda: str(s.integer()), lambda: s.words(1, 2),
                 lambda: number_text(-s.temperature()))
        count = self.random.randint(low, high)
        text = " ".join(self.random.choice(draws)() for _ in range(count)) if not s.blank else BLANK
        return Turn(self._ask("repeat", text=text), [], NO_TOOL_NEEDED, text)

    def unknown(self):
        """A request that no tool helps with."""
        r, s = self.random, self.slots
        verb = r.choice(VERBS)
        thing = r.choice((s.item, s.city, s.made_up_word, lambda: s.words(1, 3), s.person))()
        user = self._ask("unknown", verb=verb, lower_verb=verb.lower(), article=r.choice(ARTICLES), thing=thing,
                         language=r.choice(LANGUAGES), quality=r.choice(QUALITIES))
        return Turn(user, [], "I do not know how to do this.", "I am sorry, I cannot help with that.")
