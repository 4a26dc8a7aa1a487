"""Mistakes in the table [app], in a project's pyproject.toml and in its code, and what must be said of each."""

from tests.support.apps import CLIENT, PYPROJECT, SERVER

APP = '[app]\npath = "mine"\n'
EVALUATION = "\n@app.evaluate()"
FIRST = 'name the first model by [app] initial = "module:function"'
BAD_FILES = {
    "no path": ("[app]\n", '[app] path must be the folder of a Flower project, such as path = "my-app", got None'),
    "no such folder": ('[app]\npath = "other"', "other is no folder; give the folder of a Flower project, which has a pyproject.toml"),
    "no project": ('[app]\npath = "."', "has no pyproject.toml that can be read (No such file or directory); give the folder of"),
    "unknown key": (
        APP + 'intial = "a:b"',
        "unknown key in [app] 'intial'; did you mean 'initial'? choose one of: accuracy, config, evaluate,",
    ),
    "no name of a function": (
        APP + 'evaluate = "judge"',
        "[app] evaluate must be \"module:name\", of a module in the app's folder, got 'judge'",
    ),
    "no table": (APP + "config = 3", "config must be a table, written [app.config], got 3"),
    "unknown setting": (
        APP + "[app.config]\nrat = 1",
        "unknown key in [app.config] 'rat'; did you mean 'rate'? choose one of: model.start, rate",
    ),
    "a setting that is not finite": (APP + "[grid]\napp.rate = [inf]", "[grid] rate must be finite, got inf"),
    "a message that is not finite": (APP + "[app.train-config]\nx = nan", "[app.train-config] x must be finite, got nan"),
    "a message of mixed kinds": (
        APP + "[app.train-config]\nx = [1, 'a']",
        "[app.train-config] x must be a number, a string, true or false, or a list of values of one kind, got [1, 'a']",
    ),
    "a date in a message": (
        APP + "[app.train-config]\nx = 1979-05-27",
        "or a list of values of one kind, got datetime.date(1979, 5, 27)",
    ),
    "no name of a metric": (APP + "accuracy = 3", "[app] accuracy must be the name of a metric, got 3"),
    "a setting of another kind": (APP + "[app.config]\nrate = 'x'", "[app.config] rate must be a value like the app's own, 0.5, got 'x'"),
    "a whole number for a yes": (APP + "[grid]\napp.rate = [true]", "[grid] rate must be a value like the app's own, 0.5, got True"),
    "unknown setting in the grid": (APP + "[grid]\napp.rato = [1]", "unknown key in [grid] 'app.rato'; did you mean 'app.rate'?"),
    "a setting twice": (
        APP + "[app.config]\nrate = 1\n[grid]\napp.rate = [1]",
        "[grid] app.rate is given in [app.config] too; give it once",
    ),
    "a key of tasks": (
        APP + "[task]\nlr = 0.1",
        "[task] lr cannot be given here: it is of the package's own tasks; the app's own settings are: app.model-start, app.rate",
    ),
    "a setting without app": (
        "[grid]\napp.rate = [0.1]",
        "[grid] app.rate cannot be given here: run configs are of apps; name one by [app] path",
    ),
    "poisoned data": (
        APP + "[task]\nnum-malicious = 2\n[grid]\nattack = ['label-flip']",
        "attack 'label-flip' poisons training data, which the app's own code alone loads; take an attack on updates, or poison",
    ),
    "an attack that looks at the model": (
        APP + "[task]\nnum-malicious = 2\nattack = {name = 'adaptive', goal = 'model'}",
        "attack 'adaptive' with goal = 'model' must be able to evaluate models by itself; name a central evaluation function by [app]",
    ),
    "batched": (
        APP + "[sweep]\nengine = 'batched'",
        "engine 'batched' trains the package's own tasks, not the clients of an app; take 'local'",
    ),
    "a choice": (
        APP + "[grid]\napp.rate = [0.1, 0.2]\n[choose]\nkeys = ['app.rate']",
        "[choose] needs a validation split to choose on, which",
    ),
    "too few for the rule": (
        APP + "[task]\nnum-malicious = 9\nstrategy = 'krum'",
        "strategy 'krum' with f = 9 needs at least 21 clients, got",
    ),
}
BAD_PROJECTS = {
    "not TOML": ("[tool", "pyproject.toml is not TOML: "),
    "no components": (
        "[project]\nname = 'x'",
        "names no ClientApp: [tool.flwr.app.components] has no clientapp; give the folder of a Flower",
    ),
    "a setting that is not finite": (
        PYPROJECT.replace("0.5", "nan"),
        "rate in [tool.flwr.app.config] must be a finite number, a string, true or false, got nan",
    ),
    "a list as a setting": (
        PYPROJECT.replace("0.5", "[0.5]"),
        "rate in [tool.flwr.app.config] must be a finite number, a string, true or false, got [0.5]",
    ),
}
BAD_APPS = {
    "no module": ({"pyproject": PYPROJECT.replace("pull.client_app", "pull.clientapp")}, {}, "there is no module 'pull.clientapp' in "),
    "no name in it": (
        {"pyproject": PYPROJECT.replace("client_app:app", "client_app:ap")},
        {},
        "pull.client_app has no 'ap'; did you mean 'app'?",
    ),
    "a missing library": (
        {"client_app": "import not_there"},
        {},
        "pull.client_app needs 'not_there', which is not installed here; install it",
    ),
    "an error": ({"client_app": "1 / 0"}, {}, "importing pull.client_app failed: ZeroDivisionError: division by zero"),
    "an exit": (
        {"client_app": "import sys\nsys.exit('no licence')"},
        {},
        "importing pull.client_app failed: SystemExit: no licence",
    ),
    "no ClientApp": ({"client_app": "app = 3"}, {}, "must be a flwr.clientapp.ClientApp, got 3"),
    "no training": (
        {"client_app": CLIENT.replace("@app.train()", "")},
        {},
        "cannot train: it has neither a function for @app.train() nor a client",
    ),
    "no evaluation": (
        {"client_app": CLIENT.replace(EVALUATION, "")},
        {},
        'its ClientApp has no function for @app.evaluate(); give it one, or name a central one by [app] evaluate = "module:function"',
    ),
    "no accuracy": (
        {"client_app": CLIENT.replace('"accuracy"', '"score"')},
        {},
        "a client's evaluation must say one accuracy, got 'num-examples', 'score', 'loss'; name its metric by [app] accuracy = ",
    ),
    "two accuracies": (
        {"mine": "def judge(arrays): return {'top1_acc': 1, 'top5_acc': 1}"},
        {"evaluate": "pull.mine:judge"},
        "'top1_acc', 'top5_acc'",
    ),
    "another name": (
        {},
        {"accuracy": "eval_acc"},
        "a client's evaluation must say 'eval_acc', got 'num-examples', 'accuracy', 'loss'; name its",
    ),
    "another loss": (
        {},
        {"loss": "eval_loss"},
        "a client's evaluation must say 'eval_loss', got 'num-examples', 'accuracy', 'loss'; name its",
    ),
    "a number alone": (
        {"mine": "def judge(arrays): return 0.5"},
        {"evaluate": "pull.mine:judge"},
        "evaluate = 'pull.mine:judge' must return a mapping",
    ),
    "a failing evaluation": (
        {"mine": "def judge(arrays): raise OSError('no data')"},
        {"evaluate": "pull.mine:judge"},
        "evaluate = 'pull.mine:judge' raised OSError: no data; mend it, or name another function",
    ),
    "a client that fails": (
        {"client_app": CLIENT.replace("quality(w)", "1 / 0")},
        {},
        "no client evaluated the model: evaluate on partition 0: ZeroDiv",
    ),
    "no function": (
        {},
        {"evaluate": "pull.task:jugded"},
        "the evaluation function 'pull.task:jugded': pull.task has no 'jugded'; did you mean 'judged'",
    ),
    "no ServerApp": (
        {"pyproject": PYPROJECT.replace("serverapp =", "other =")},
        {},
        f"has no ServerApp, whose first message would hold the first model; {FIRST}",
    ),
    "another server": ({"server_app": "app = 3"}, {}, "must be a flwr.serverapp.ServerApp, got 3"),
    "a failing server": (
        {"server_app": SERVER.replace("FedAvg().start", "context.run_config['rounds'] or FedAvg().start")},
        {},
        f"ended before it sent a first model: KeyError: 'rounds'; mend it, or {FIRST}",
    ),
    "a server that sends nothing": ({"server_app": SERVER.replace("FedAvg().start", "dict")}, {}, "ended before it sent a first model"),
    "an empty model": (
        {"server_app": SERVER.replace('[np.full(2, context.run_config["model.start"])]', "[]")},
        {},
        f"has no numbers to learn; {FIRST}",
    ),
    "a negative number of examples": (
        {"client_app": CLIENT.replace("1 + partition,", "-1,")},
        {},
        "a client's evaluation must say 'num-examples' as a number >= 0, got -1; mend its @app.evaluate()",
    ),
    "an accuracy that no client finds": (
        {"client_app": CLIENT.replace("quality(w)", "float('nan')")},
        {},
        "its clients' evaluation finds no accuracy of the first model: it is NaN; mend it",
    ),
    "a client's list": (
        {"client_app": CLIENT.replace("quality(w)", "[0.5]")},
        {},
        "and 'accuracy', which is no number but [0.5]; name",
    ),
    "a model that clients do not take": (
        {"mine": "import numpy as np\ndef It(): return [np.ones(2), np.ones(2)]"},
        {"initial": "pull.mine:It"},
        "too many values to unpack (expected 1); is initial = 'pull.mine:It' the model that its clients train?",
    ),
    "a server's model of no numbers": (
        {"server_app": SERVER.replace("np.full(2, ", "np.full(2, np.nan * ")},
        {},
        f"the first model of 'pull' has values that are not finite in the array '0'; {FIRST}",
    ),
}
