"""Every term of the workbench, defined once. Pages and reports show these definitions; docs/glossary.md is made from
them by ``python -m workbench.report.glossary > docs/glossary.md``.
"""

from __future__ import annotations

MODEL = {
    "expert": "One of the E × E small feed-forward units of a layer group, written group:id. Its id is i × E + j for "
    "the pair of keys (i, j).",
    "group": "A layer group: the layers that share one router, and therefore one set of experts.",
    "mixed model": "A model in which some layers have experts and the others are dense layers, as a dense model that "
    "was given experts has.",
    "dense layer": "A layer with an ordinary MLP in place of experts. It belongs to no group, and is read by "
    "attribution and circuits alone.",
    "transcoded layer": "A layer whose experts were trained to write what the MLP of a dense model, the teacher, wrote "
    "there. What they show holds for the model with the experts, which is as far from the teacher as its figures say.",
    "cross-entropy recovered": "How much of what the teacher's MLPs contribute to its loss the experts in their place "
    "keep, on held-out text: 100 % would be the teacher's own loss, 0 % that with every output at its mean. Read the "
    "rise in loss beside it: where the mean output breaks the model, nearly everything counts as recovered.",
    "neuron": "A hidden unit of a dense layer's MLP: its gate, after the activation, times what it reads, written "
    "along a vector of its own.",
    "head": "A routing head. Each head of a token chooses its own keys in both sets; an expert's score is the sum over "
    "heads.",
    "key": "One of the E router units in a key set. Every expert is a pair of keys, one from each set.",
    "key set": "One of the two sets of E keys whose product is the lattice of E × E experts. Key i of set 1 is the "
    "expert's row, key j of set 2 its column.",
    "routing score": "How strongly an expert is active at a token: the product of the routing probabilities of its two "
    "keys, summed over heads. It lies between 0 and the number of heads. “Score” alone always means this.",
    "active": "An expert is active at a token where its routing score is above 0.",
    "decomposition": "How an expert's weights are put together from those of its two keys: horizontal (HD) or vertical "
    "(VD).",
    "start-of-text token": "The token that the model reads before each document (BOS). It is left out of all "
    "statistics.",
    "control token": "A token that stands for no text: start-of-text, end-of-text, padding. The model reads them, and "
    "statistics leave them out. Their names typed in a text, such as <s>, are read as text.",
}
CORPUS = {
    "run": "A folder with what every expert did on one corpus, written by monet export.",
    "document": "One text of the corpus, with its label.",
    "label": "The class of a document, such as its language or its domain.",
    "window": "The stretch of a document that the model reads in one pass; its length is the context length of the "
    "export. A later window repeats the start-of-text token and the end of the window before, so that no token is read "
    "without text in front of it; what is repeated counts once.",
    "near copy": "A document that shares at least 0.7 of its runs of five tokens with an earlier one, as MinHash "
    "estimates. It counts in statistics, is left out of examples, and stands on the same side of every split as the "
    "document it repeats.",
    "token row": "Number of a token in a run, counted over all documents.",
    "part": "A contiguous share of the corpus, exported and stored as one set of files.",
    "kept routing": "The routing of the documents that the run stores in full. Statistics cover every document; "
    "analyses that look at single tokens use these.",
    "occurrence": "A place in the run where whole tokens spell a text. Experts that fire on the text are looked for at "
    "its last token, where the model has read all of it.",
    "score range": "An octave of routing scores, from a power of two to the next. The run keeps a sample of tokens "
    "from each.",
}
USE = {
    "mass": "Sum of an expert's routing scores over all tokens.",
    "density": "Activation density: the fraction of tokens at which an expert is active.",
    "F1": "How well an expert's activity marks the occurrences of a text, from 0 to 1: the harmonic mean of its rate "
    "(the share of the occurrences at which it is active) and its precision (the share of its active tokens that are "
    "occurrences).",
    "mean score": "An expert's mean routing score over the tokens at which it is active.",
    "rate": "Mass per token: an expert's mean routing score over all tokens, active or not.",
    "share": "An expert's rate for a label divided by the sum of its rates for all labels. It does not depend on how "
    "much text each label has.",
    "co-activating": "Active at the same tokens. Measured as the cosine similarity of two experts' scores over the "
    "best tokens of one of them.",
}
SPECIALISATION = {
    "specialised": "An expert whose largest label share is at least the ratio (2 by default) times its second "
    "largest, and which is active at enough tokens. This plain rule tests nothing: chance alone passes it often.",
    "generalist": "An expert that is active at enough tokens to tell, and not specialised: no label share stands out.",
    "too little data": "An expert without a label that is active at fewer tokens than the analysis needs to give one "
    "(10 by default). It may be specialised or a generalist; the corpus does not tell.",
    "readable": "An expert whose best tokens a reader can make something of: confirmed, active at 20 tokens or more, "
    "and with a highest score of 0.1 or more. Lists show these first.",
    "ratio": "An expert's largest label share divided by its second largest. The rule for specialised experts sets a "
    "threshold on it.",
    "confirmed": "Specialised, and with a ratio that shuffling the labels among documents does not reproduce: a "
    "permutation test at a false discovery rate over the group.",
    "replicates": "Of the experts that are confirmed (or specialised) in a label on one half of the documents, the "
    "share that the plain rule gives the same label on the other half; near copies stay in one half. Halves have half "
    "the evidence, so it is a cautious share.",
    "label selectivity": "1 − H(label shares) / log L, for L labels: 1 if an expert is used for a single label, 0 if "
    "equally for all. It says nothing of meanings. Files call it monosemanticity.",
    "class selectivity": "(a − b) / (a + b), with a an expert's largest rate for a label and b the mean of its rates "
    "for the others: 0 if they are equal, 1 if it is active for one label only.",
    "coherence": "Mean cosine similarity between the contexts of an expert's best tokens, weighted by their scores.",
    "vocabulary entropy": "Entropy, in nats, of the token ids at which an expert is active: 0 if it is always the same "
    "token. It cannot exceed the logarithm of the number of active tokens, so rarely active experts look pure.",
    "token entropy": "Entropy, in nats, of how an expert's score over its best tokens (32 by default, few per "
    "document) divides over token ids: 0 if they are all the same token, 1.1 for three tokens alike.",
    "interest": "How far the best tokens of an expert stand out, in nats: the divergence of its score over token ids "
    "from their frequencies in the corpus, plus the logarithm of the mean score of these tokens. High where few, rare "
    "tokens take all of a strong expert's score; low for many tokens, frequent ones such as punctuation, or weak "
    "scores.",
    "overlap": "The fraction of routing mass that two labels put on the same experts: 1 minus the total variation "
    "distance.",
}
REMOVAL = {
    "held-out loss": "Mean cross-entropy per predicted token, in nats, on documents that had no part in choosing the "
    "experts.",
    "zero-ablation": "Removing experts by setting their routing scores to 0; all others stay as they are.",
    "delta target": "Rise in a label's held-out loss when its own experts are removed, in nats per token.",
    "delta others": "Mean rise in the held-out loss of the other labels, in nats per token.",
    "selectivity": "Delta target divided by delta others.",
    "random control": "The same number of active experts, drawn at random in each group, removed in place of the "
    "chosen ones.",
    "activity-matched control": "The same number of experts of similar mass, drawn at random, removed in place of the "
    "chosen ones.",
    "forget/retain trade-off": "A label's own loss plotted against the loss of the other labels as more and more of "
    "its experts are removed.",
    "95 % CI": "95 % confidence interval, from a bootstrap over documents.",
}
ATTRIBUTION = {
    "direct logit attribution": "How much each component adds to the logit of a next token, directly, with the scale "
    "of the final normalisation held fixed.",
    "contribution": "What a component adds to a logit.",
    "divergence": "Kullback–Leibler divergence of one model's next-token distribution from another's, in nats: the "
    "mean over the first's tokens of the log of how much likelier it finds them. 0 where both expect the same.",
    "completeness": "Distance between a logit and the sum of all contributions to it. Attribution is exact, so this is "
    "rounding error.",
    "logit effect": "What an expert writes to the residual stream, read as logits: the tokens it promotes and "
    "suppresses, averaged over its best tokens.",
}
CIRCUIT = {
    "circuit": "A graph of what made a token: embeddings, experts at positions, MLPs of dense layers, biases and "
    "targets, and what each adds to the others. Attention patterns, norm scales, routing, one factor of each squared "
    "rectifier and the activated gates of dense layers are held at their values, so that every output is affine in the "
    "stream in front of it and nothing is left over.",
    "target": "What a circuit explains: the logit of a next token, or the difference of two, at a position.",
    "value": "What a node of a circuit adds to the target along all paths, in logits. Its incoming value edges sum "
    "to it, and so do its outgoing ones.",
    "influence": "The fraction of the target's absolute input that flows through a node of a circuit, where every "
    "node divides what flows through it among its sources by the absolute weights of their edges.",
    "margin": "By how much an expert's two raw key logits, in the routing head that gives most of its score, exceed "
    "the thresholds in force. Incoming routing edges sum to it.",
    "value edge": "What one node of a circuit adds to the value of another, through the residual stream and "
    "attention alone.",
    "routing edge": "What one node of a circuit adds to the margin of another: why that expert was chosen.",
    "rest": "The active experts of a layer at a position that are no nodes of their own in a circuit, together.",
    "supernode": "Nodes of a circuit that are shown and changed as one.",
}
EXPLANATION = {
    "explanation": "A sentence about what activates an expert, written by a person or a program.",
    "rule": "An explanation that was learned without a language model: the tokens, contexts and labels that tell best, "
    "added up, where an expert is strongly active. Named first is what tells most.",
    "strongly active": "At the tokens with an expert's highest scores, which together hold nine tenths of its mass. "
    "The weak ones are often many more.",
    "balanced accuracy": "The mean of two shares: of the active tokens or passages that are called active, and of the "
    "others that are not. 0.5 is chance.",
    "average precision": "How well a rule ranks tokens by whether the expert is strongly active there, from 0 to 1: "
    "precision, averaged over these tokens as they are found from the top. Chance is their share of all tokens.",
    "detection": "Balanced accuracy of a judge who has only the explanation and must tell passages where the "
    "expert is active from passages where it is not. 0.5 is chance.",
    "fuzzing": "Balanced accuracy of a judge who has only the explanation and must tell passages with the right tokens "
    "highlighted from passages with others highlighted. 0.5 is chance.",
    "explanation control": "Detection or fuzzing with the explanation of another expert in place of the expert's own.",
}
STRUCTURE = {
    "lattice": "The E × E grid of a group's experts: rows are keys of set 1, columns keys of set 2.",
    "two-way ANOVA": "Analysis of variance of the experts' label preference into a row effect, a column effect and an "
    "interaction that belongs to the pair.",
    "interaction": "The part of the reliable variance that row and column effects do not explain.",
    "reliable": "The part of the variance of label preference that two halves of the documents agree on: their "
    "correlation.",
    "standing committee": "The experts that are among the most active of their group in every label (Wang et al. "
    "2026).",
    "trustworthiness": "How far neighbours on a map are neighbours in the original space, from 0 to 1 (Venna & Kaski "
    "2001).",
}
CORRELATION = {
    "document score": "A number that the corpus gives for each document, such as its toxicity.",
    "purging": "Removing the experts whose scores correlate with a document score.",
    "false discovery rate": "The expected fraction of false positives among the experts called significant "
    "(Benjamini–Hochberg).",
}
OWNERSHIP = {
    "fingerprint": "A secret key, 16 tokens of text, and the response that only its owner's model gives to it.",
    "response": "The one token that a fingerprinted model answers to a key with.",
    "nucleus": "The likeliest next tokens, as many as it takes for a given mass. A perinucleus response is drawn from "
    "the tokens just outside, so that the model does not find it odd.",
    "commitment": "A hash of the secret file. Published and dated before the model is, it shows that keys and "
    "responses were not made up afterwards.",
    "success": "The share of keys to which a model's likeliest next token is the response.",
    "ownership p-value": "The probability that a model which knows nothing of the secret gives as many responses, "
    "exactly: a binomial tail at the rate of one in as many responses as a key could have had.",
    "rise": "How much more the fingerprinted model gives to a response's logit than its base does. Every expert has an "
    "exact part of it. Of a loss: how far it is above the base model's.",
}
SECTIONS = {
    "The model": MODEL,
    "The corpus and the run": CORPUS,
    "How much an expert is used": USE,
    "Which label an expert prefers": SPECIALISATION,
    "Removing experts": REMOVAL,
    "Attribution": ATTRIBUTION,
    "Circuits": CIRCUIT,
    "Explanations": EXPLANATION,
    "Structure": STRUCTURE,
    "Correlation with a document score": CORRELATION,
    "Ownership": OWNERSHIP,
}
GLOSSARY = {term: definition for section in SECTIONS.values() for term, definition in section.items()}


def markdown() -> str:
    """The glossary as docs/glossary.md holds it."""
    lines = [
        "# Glossary",
        "",
        "Every term of the pages, reports and docs, defined once. Made from `workbench/report/glossary.py`.",
        "",
    ]
    for title, terms in SECTIONS.items():
        lines += [f"## {title}", ""]
        for term, definition in terms.items():
            lines.append(f"- **{term}**: {definition}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
