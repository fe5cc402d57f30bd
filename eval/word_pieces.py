"""A vocabulary of word pieces for the words of some texts: the most frequent pair of neighbours becomes one, again and
again (Sennrich et al. 2016, arXiv 1508.07909), in the spelling of WordPiece, where what continues a word begins ``##``.

The trainer of the tokenizers library breaks ties in the order of a hash map, so that two processes get two vocabularies
(github.com/huggingface/tokenizers, issue 1794); here pairs of equal count go by the alphabet. 1 s for 25,000 texts.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

Pair = tuple[str, str]


def word_pieces(words: Mapping[str, int], *, size: int, min_count: int = 2) -> list[str]:
    """At most ``size`` pieces: the characters first, in the order of the alphabet, then longer and longer ones.

    Args:
        words: with their counts.
        min_count: pairs that come less often stay two.
    """
    spelled = [_spell(word) for word in sorted(words)]
    counts = [words[word] for word in sorted(words)]
    pieces = dict.fromkeys(sorted({piece for word in spelled for piece in word})[:size])
    totals: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = defaultdict(set)  # the words that a pair is or was in
    for number, word in enumerate(spelled):
        for pair in pairwise(word):
            totals[pair] += counts[number]
            places[pair].add(number)
    heap = [(-count, pair) for pair, count in totals.items()]
    heapq.heapify(heap)
    while heap and len(pieces) < size:
        count, pair = heapq.heappop(heap)
        if -count != totals[pair]:
            continue  # its count has changed since; the new one is in the heap as well
        if -count < min_count:
            break
        merged = pair[0] + pair[1].removeprefix("##")
        pieces[merged] = None
        changed: set[Pair] = set()
        for number in places.pop(pair):
            before, after = spelled[number], _merge(spelled[number], pair, merged)
            for word, sign in ((before, -1), (after, 1)):
                for neighbours in pairwise(word):
                    totals[neighbours] += sign * counts[number]
                    changed.add(neighbours)
                    if sign > 0:
                        places[neighbours].add(number)
            spelled[number] = after
        totals[pair] = 0
        for neighbours in changed:
            if totals[neighbours] > 0:
                heapq.heappush(heap, (-totals[neighbours], neighbours))
    return list(pieces)


def _spell(word: str) -> list[str]:
    return [word[0], *(f"##{letter}" for letter in word[1:])]


def _merge(word: list[str], pair: Pair, merged: str) -> list[str]:
    done: list[str] = []
    place = 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            done.append(merged)
            place += 2
        else:
            done.append(word[place])
            place += 1
    return done
