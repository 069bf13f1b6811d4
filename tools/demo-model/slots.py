"""What the conversations are about: cities, people, items, numbers, dates, free text.

The one idea: half of all open values are letter strings that nobody has seen, so that copying a value is the only thing
that works and real names that were never in the corpus are copied as well.
"""
import json

CITIES = (
    "Paris Rome Oslo Madrid Lisbon Berlin Vienna Prague Dublin London Athens Cairo Lagos Nairobi Tokyo Osaka Kyoto "
    "Seoul Beijing Shanghai Delhi Mumbai Bangkok Hanoi Manila Jakarta Sydney Perth Auckland Toronto Montreal Boston "
    "Chicago Denver Seattle Austin Miami Lima Bogota Santiago Quito Havana Helsinki Stockholm Warsaw Budapest Geneva "
    "Zurich Milan Naples"
).split() + [
    "New York", "San Francisco", "Buenos Aires", "Hong Kong", "Cape Town", "Los Angeles", "Rio de Janeiro",
    "São Paulo", "Zürich", "Malmö", "Tel Aviv",
]
NAMES = (
    "Ana Ben Carla David Emma Felix Grace Hugo Irene Jack Karen Leo Maria Nina Omar Paul Rosa Sam Tina Victor Wendy "
    "Yuki Zoe Alice Bob Chen Diana Erik Fatima George Hannah Ivan Julia Kevin Laura Marco Nora Oscar Priya Ruth"
).split()
ITEMS = (
    "lamp chair table book pen phone laptop mug bag shirt hat clock mirror pillow blanket desk sofa bottle candle "
    "camera guitar bike helmet basket carpet kettle pan spoon bowl towel notebook ticket ring ladder hammer bucket "
    "drum kite"
).split()
ADJECTIVES = "red blue green black white small large old new wooden cheap heavy round golden plastic".split()
WORDS = (
    "i you we the a my your this that it is are was will can go come meet call bring buy see know think want need "
    "like love home work school office station garden kitchen door car train bus dog cat bread milk coffee tea dinner "
    "lunch key box letter money water fire light night day week today tomorrow soon later now here there at in on to "
    "for with from about before after happy late early ready busy good great bad big little more less please thanks "
    "hello yes no not never always maybe birthday party meeting project report answer question friend mother brother "
    "doctor"
).split()
HELDOUT = {                        # real values that training never draws
    "city": ("Lyon Porto Kigali Saint-Denis Brisbane Ottawa Krakow Tbilisi Seville Dakar Bergen Leipzig".split()
             + ["Las Vegas", "Ho Chi Minh City", "Kuala Lumpur", "Düsseldorf"]),
    "name": "Marguerite Liam Sofia Tomás Aisha Viktor Wei Beatrix Jonas Kwame Olga Pedro".split(),
    "item": "umbrella wallet teapot keyboard scarf violin backpack compass tripod stapler".split(),
}
SKIES = "sunny cloudy rainy snowy windy foggy clear stormy overcast humid".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = {
    ("km", "miles"): 0.621371, ("miles", "km"): 1.609344, ("kg", "pounds"): 2.204623, ("pounds", "kg"): 0.453592,
    ("meters", "feet"): 3.28084, ("feet", "meters"): 0.3048, ("liters", "gallons"): 0.264172,
    ("gallons", "liters"): 3.785412, ("inches", "cm"): 2.54, ("cm", "inches"): 0.393701,
    ("grams", "ounces"): 0.035274, ("ounces", "grams"): 28.349523, ("hours", "minutes"): 60.0,
    ("minutes", "seconds"): 60.0, ("days", "hours"): 24.0,
}
COPIED_WORDS = set(SKIES) | set(WEEKDAYS) | {unit for pair in UNITS for unit in pair} | {"celsius", "fahrenheit"}

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_ACCENTED = "éèüöäßñçåøãíóáêî"
_SYLLABLES = [c + v for c in "b d f g h j k l m n p r s t v w z br dr kr pl st tr sh".split() for v in "aeiou"]
_ENDINGS = ["", "", "n", "r", "s", "l", "k", "m", "x", "th"]
_FRAGMENTS = " ".join(CITIES + NAMES + ITEMS + WORDS).lower().split()
BLANK = "§"                        # stands for every open value in the texts that the tokenizer learns from


def number_text(value):
    """A number as JavaScript prints it, with at most two decimals."""
    value = round(value + 1e-9, 2)
    return str(int(value)) if value == int(value) else repr(value)


def number(value):
    """The same number as an int where it is whole, for JSON."""
    return json.loads(number_text(value))


class Slots:
    """Draws values. `heldout` swaps the lists of real values for reserved ones; `blank` hides all open values;
    `pieces` are tokens of the vocabulary that made-up words are also built from, so that each is copied now and then."""

    def __init__(self, random, heldout=False, blank=False, pieces=()):
        self.random, self.blank, self.pieces = random, blank, pieces
        self.cities = HELDOUT["city"] if heldout else CITIES
        self.names = HELDOUT["name"] if heldout else NAMES
        self.items = HELDOUT["item"] if heldout else ITEMS

    def chance(self, probability):
        return self.random.random() < probability

    def made_up_word(self):
        """A lower-case word of syllables, of random letters, or of pieces of real words."""
        r, kind = self.random, self.random.random()
        if self.pieces and r.random() < 0.5:
            first = r.choice(_ALPHABET) if r.random() < 0.4 else ""
            return first + "".join(r.choice(self.pieces) for _ in range(r.choice((1, 1, 2, 2, 3))))
        if kind < 0.25:
            return "".join(r.choice(_SYLLABLES) for _ in range(r.choice((2, 2, 3)))) + r.choice(_ENDINGS)
        if kind < 0.7:
            letters = [r.choice(_ALPHABET) for _ in range(r.randint(2, 10))]
            if r.random() < 0.06:
                letters[r.randrange(len(letters))] = r.choice(_ACCENTED)
            return "".join(letters)
        pieces = []
        for _ in range(r.choice((2, 2, 3))):
            word = r.choice(_FRAGMENTS)
            start = r.randrange(len(word))
            pieces.append(word[start:start + r.randint(1, 4)])
        return "".join(pieces)

    def _cased(self, word):
        kind = self.random.random()
        return word.capitalize() if kind < 0.86 else word if kind < 0.95 else word.upper()

    def proper(self, known, two_words=0.2):
        """A proper name: a real one from `known`, or one or two made-up words."""
        if self.blank:
            return BLANK
        if self.chance(0.4):
            return self.random.choice(known)
        name = self._cased(self.made_up_word())
        if not self.chance(two_words):
            return name
        return f"{name}{'-' if self.chance(0.2) else ' '}{self._cased(self.made_up_word())}"

    def city(self):
        return self.proper(self.cities)

    def person(self):
        if self.chance(0.08) and not self.blank:
            return f"{self.random.choice(self.names)} {self._cased(self.made_up_word())}"
        return self.proper(self.names, 0.12)

    def noun(self):
        """An item whose last word is known, so that its plural has a rule: `red lamp`, `zorvi lamp`."""
        r = self.random
        item = r.choice(self.items) if not self.blank else "lamp"
        if self.pieces and r.random() < 0.4:
            item = self.made_up_word()
        kind = r.random()
        if kind < 0.25 and not self.blank:
            return f"{r.choice(ADJECTIVES)} {item}"
        return f"{self.made_up_word()} {item}" if kind < 0.4 and not self.blank else item

    def item(self):
        if self.blank:
            return BLANK
        if self.chance(0.6):
            return self.noun()
        return self.made_up_word() if self.chance(0.7) else f"{self.made_up_word()} {self.made_up_word()}"

    def words(self, low, high):
        """A few words of free text."""
        if self.blank:
            return BLANK
        r = self.random

        def word():
            if self.pieces and r.random() < 0.3:
                return r.choice(self.pieces)
            if r.random() < 0.75:
                return r.choice(WORDS)
            return self.made_up_word() if r.random() < 0.6 else str(self.integer())

        return " ".join(word() for _ in range(r.randint(low, high)))

    def integer(self, digits=None):
        r = self.random
        digits = digits or r.choice((1, 2, 2, 2, 2, 3, 3, 3, 4, 4, r.choice((5, 6, 7))))
        return r.randint(10 ** (digits - 1) if digits > 1 else 1, 10 ** digits - 1)

    def temperature(self):
        whole = self.random.randint(-25, 42)
        return number(whole + self.random.randint(1, 9) / 10) if self.chance(0.15) else whole

    def sky(self):
        return self.made_up_word() if self.chance(0.08) and not self.blank else self.random.choice(SKIES)

    def clock(self):
        return f"{self.random.randint(0, 23):02d}:{self.random.randint(0, 59):02d}"

    def price(self):
        price = self.integer(self.random.choice((1, 2, 2, 3, 4)))
        return price if self.chance(0.6) else number(price + self.random.choice((25, 50, 75, 95, 99)) / 100)

    def phone(self):
        r = self.random
        if r.random() < 0.6:
            return f"555-{r.randint(0, 9999):04d}"
        lead, joint = r.choice(("+", "0", "")), r.choice(("-", " "))
        return lead + joint.join(str(r.randint(10, 9999)) for _ in range(r.choice((2, 3))))
