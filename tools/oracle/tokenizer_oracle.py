"""Oracle of the tokenizer: Kimi's encoding with the published regular expression and a naive merge.

Independent of lib/tokenizer in every part: Python's `regex` module splits, `min` over all pairs merges.

  python3 tools/oracle/tokenizer_oracle.py golden                      rewrites test/golden/tokenizer-small.json
  python3 tools/oracle/tokenizer_oracle.py strings MODEL COUNT SEED    JSON lines {text, ids} for a tiktoken.model
"""
import base64
import hashlib
import heapq
import json
import pathlib
import random
import struct
import sys
import unicodedata
from collections import Counter

import regex

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT = regex.compile("|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + "+" + _CONTRACTION,
    r"[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*" + _CONTRACTION,
    r"\p{N}{1,3}",
    r" ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*",
    r"\p{White_Space}*[\r\n]+",
    r"\p{White_Space}+(?!\P{White_Space})",
    r"\p{White_Space}+",
]), regex.V1)
PART_CODE_POINTS = 400_000
RUN_CODE_POINTS = 25_000
GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden" / "tokenizer-small.json"


def load(path):
    """{bytes: rank} of a tiktoken.model."""
    lines = pathlib.Path(path).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def merge_naive(ranks, piece):
    """Lowest rank first, leftmost of equals, over all pairs each time."""
    parts = [piece[i:i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        rank, i = min((ranks.get(parts[i] + parts[i + 1], 1 << 40), i) for i in range(len(parts) - 1))
        if rank == 1 << 40:
            break
        parts[i:i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def merge_heap(ranks, piece):
    """The same with a heap of (rank, start, end) candidates that are checked when they come up; for long pieces."""
    ends = {i: i + 1 for i in range(len(piece))}
    starts = {end: start for start, end in ends.items()}
    heap = []

    def offer(start):
        middle = ends.get(start)
        end = ends.get(middle)
        if end is not None and piece[start:end] in ranks:
            heapq.heappush(heap, (ranks[piece[start:end]], start, middle, end))

    for i in range(len(piece)):
        offer(i)
    while heap:
        _, start, middle, end = heapq.heappop(heap)
        if ends.get(start) != middle or ends.get(middle) != end:
            continue
        del ends[middle]
        ends[start] = end
        starts[end] = start
        offer(start)
        if start > 0:
            offer(starts[start])
    ids, at = [], 0
    while at < len(piece):
        ids.append(ranks[piece[at:ends[at]]])
        at = ends[at]
    return ids


def cuts(text):
    """The parts of a text that are encoded alone."""
    for start in range(0, len(text), PART_CODE_POINTS):
        yield from cut_runs(text[start:start + PART_CODE_POINTS])


def cut_runs(part, is_space=str.isspace):
    begin, run, was_space = 0, 0, None
    for i, character in enumerate(part):
        run = run + 1 if is_space(character) == was_space else 1
        was_space = is_space(character)
        if run > RUN_CODE_POINTS:
            yield part[begin:i]
            begin, run = i, 1
    yield part[begin:]


def encode(ranks, text, cuts=cuts):
    # Lone surrogates are written as U+FFFD, as tiktoken does.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    ids = []
    for part in cuts(text):
        for match in SPLIT.finditer(part):
            piece = match.group().encode()
            if piece in ranks:
                ids.append(ranks[piece])
            else:
                ids.extend((merge_naive if len(piece) <= 200 else merge_heap)(ranks, piece))
    return ids


WORDS = """the and Hello WORLD camelCase XMLHttpRequest don't I'LL we've they'RE x'\u017f 's 'T 'll functions.get_weather:0
<|im_end|> <think> [EOS] e\u0301 \u00e9 \u4e2d\u6587 \u6f22\u5b57\u304b\u306a \u30ab\u30bf\u30ab\u30ca \ud55c\uad6d\uc5b4 \u05e9\u05dc\u05d5\u05dd
\u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22 \U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \uff11\uff12\uff13
\u2167 \u00bd \u0663\u0664\u0665 \u3007 \u3005 \u2e80 \u01c5 \u02b0 \u00aa __init__ -> ... !!! 1234567 3.14 0 {"a":1} /* // ==
\U00020000 \U00016ff0 \U000e0100 \U0001d7d8 \U0010ffff""".split()
ALPHABET = list("abcABC12 '\"sSlLvVeErRtT!-_.\n\r\t") + """  \r\n \u017f \u4e2d \u56fd \u3007 \u2e81 \u00aa \u02b0 \u0301 \u20dd \u01c5
\u05d0 \u00e9 \u00c9 \u00df \u0661 \u200d \u200b \ufeff \U0001f600 \U00016ff0 \U00020001 \U0001f3fb \u1885""".split() + list(
    "\u0085\u00a0\u3000\u2003\u2028\u001c\u001f\u0000")


def stable(code_point):
    """Assigned since before this Python's Unicode version (or never): its class does not depend on a version."""
    return unicodedata.category(chr(code_point)) != "Cn" or code_point > 0xe01f0


def random_character(generator):
    while True:
        code_point = generator.randrange(0x3000 if generator.random() < 0.6 else 0x110000)
        if stable(code_point):
            return chr(code_point)


def random_text(generator, longest):
    kind = generator.randrange(6)
    out = []
    for _ in range(generator.randint(1, longest)):
        if kind == 0:
            out.append(generator.choice(WORDS))
        elif kind == 1:
            out.append(generator.choice(ALPHABET))
        elif kind == 2:
            out.append(random_character(generator))
        elif kind == 3:
            out.append(generator.choice(WORDS) + generator.choice([" ", " ", "", "\n", "  "]))
        elif kind == 4:
            out.append(chr(generator.randrange(32, 127)))
        else:
            out.append(generator.choice(ALPHABET) * generator.choice([1, 1, 1, 2, 3, 7]))
    # As JSON carries it: adjacent halves of a pair become one character.
    return "".join(out).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def learn(generator, size):
    """A small byte-pair vocabulary from random texts."""
    words = Counter()
    for _ in range(1500):
        for match in SPLIT.finditer(random_text(generator, 20).replace("\ud800", "")):
            words[match.group().encode("utf-8", "replace")] += 1
    sequences = {word: [bytes([byte]) for byte in word] for word in words}
    tokens = [bytes([byte]) for byte in range(256)]
    while len(tokens) < size:
        pairs = Counter()
        for word, sequence in sequences.items():
            for left, right in zip(sequence, sequence[1:]):
                pairs[left + right] += words[word]
        best = max(pairs, key=lambda token: (pairs[token], token))
        if best not in tokens:
            tokens.append(best)
        for word, sequence in sequences.items():
            i = 0
            while i + 1 < len(sequence):
                if sequence[i] + sequence[i + 1] == best:
                    sequence[i:i + 2] = [best]
                i += 1
    return tokens


LONG_TEXTS = [
    [["a", 25_000], ["b", 1]],
    [["a", 25_001]],
    [["ab1", 9_000], [" ", 2], ["x", 3]],
    [[" ", 25_001], ["x", 1]],
    [["\U0001f600", 25_003]],
    [["\u4e2d", 24_999], ["a", 3], [" b", 2]],
    [["\U00020000 ", 200_000], ["tail", 2]],
]
# Texts on which a plausible mistake about the cuts changes the ids; `golden` proves that it does.
TELLING_TEXTS = [
    ("no cut in a run", lambda text: [text], [["x", 24_998], ["Hello", 2]]),
    ("UTF-16 units counted", lambda text: [text[:12_500], text[12_500:]], [["\U0001f600", 12_498], ["Hello", 2]]),
    ("no cut of parts", cut_runs, [["words ", 66_666], ["a Hello", 2]]),
    ("parts a character too long", lambda text: [text[:400_001], text[400_001:]], [["words ", 66_666], ["a Hello", 2]]),
    ("runs counted on over the cut of parts", lambda text: [text[:400_000], text[400_000:404_998], text[404_998:]],
     [["words ", 63_333], ["xx", 1], ["-", 24_996], ["Hello", 9]]),
    ("U+001C to U+001F are no space", lambda text: cut_runs(text, lambda c: c.isspace() and not "\x1c" <= c <= "\x1f"),
     [["\u001c", 12_501], [" ", 12_503], ["x", 1]]),
]


def pack(ids):
    return base64.b64encode(struct.pack(f"<{len(ids)}H", *ids)).decode()


def golden():
    generator = random.Random(20)
    trained = learn(generator, 700)
    shuffled = trained + [b"abc", b"bcabc", b"  a", b"\xe4\xb8", b"\xb8\xad", b"1212", b"!!!!!"]
    shuffled = list(dict.fromkeys(shuffled))
    generator.shuffle(shuffled)
    vocabularies = []
    for name, tokens in (("trained", trained), ("shuffled", shuffled)):
        ranks = {token: rank for rank, token in enumerate(tokens)}
        for _ in range(300):
            piece = random_text(generator, 30).encode("utf-8", "replace")
            assert merge_naive(ranks, piece) == merge_heap(ranks, piece)
        texts = []
        for number in range(1000):
            text = random_text(generator, 24)
            if number % 50 == 0:
                text += "\ud83d" + "z\udc00"
            texts.append([text, pack(encode(ranks, text))])
        long_texts = []
        for recipe in LONG_TEXTS + [recipe for _, _, recipe in TELLING_TEXTS]:
            ids = encode(ranks, "".join(part * count for part, count in recipe))
            digest = hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()
            long_texts.append({"parts": recipe, "count": len(ids), "sha256": digest})
        for mistake, wrong_cuts, recipe in TELLING_TEXTS:
            text = "".join(part * count for part, count in recipe)
            assert encode(ranks, text) != encode(ranks, text, wrong_cuts), (name, mistake)
        vocabularies.append({
            "name": name,
            "tokens": " ".join(base64.b64encode(token).decode() for token in tokens),
            "texts": texts,
            "longTexts": long_texts,
        })
    lines = json.dumps(vocabularies, separators=(",", ":")).replace('],["', '],\n["').replace('},{', '},\n{')
    GOLDEN.write_text(lines + "\n")


def strings(path, count, seed):
    ranks = load(path)
    generator = random.Random(seed)
    for _ in range(count):
        text = random_text(generator, 60)
        print(json.dumps({"text": text, "ids": encode(ranks, text)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        golden()
    elif sys.argv[1:2] == ["strings"] and len(sys.argv) == 5:
        strings(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(__doc__)
