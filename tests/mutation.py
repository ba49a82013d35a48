"""Mutation testing of what a bound is made of: a small change to the code must fail a test.

``make mutation``, or in the environment of requirements/mutation.txt ``python tests/mutation.py
[MODULE ...]``, with modules named as in TESTS. The operators are those of mutmut and a few more.
What survives is printed, with the changed line.

The tests are collected and run once, with the lines that each one runs. Then a process is forked
for every mutant: it gives the changed code to the live function, or imports the whole package anew
where the change lies outside of functions, and repeats the tests that run the line until one
fails. A mutant that outlives its time, counted on the processor, is tried once more with five
times as much. Left out are annotations, prose, the text of errors, ``strict=`` and ``device=``.
"""

import inspect
import os
import resource
import signal
import sys
import time
from collections import Counter
from importlib.machinery import SourceFileLoader
from itertools import pairwise
from pathlib import Path

import coverage
import hypothesis
import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sklearn_rnnbound"
#: Modules, with the test modules that are to find their mutants.
TESTS = {
    "bounds/_bound": ["bounds/bound"],
    "bounds/_numeric": ["bounds/numeric", "bounds/occam", "bounds/pac_bayes", "bounds/holdout"],
    "bounds/_rule": ["bounds/rule"],
    "bounds/golowich": ["bounds/golowich", "bounds/rule"],
    "bounds/holdout": ["bounds/holdout", "bounds/rule"],
    "bounds/localized": ["bounds/localized", "bounds/rule"],
    "bounds/margin": ["bounds/margin", "bounds/localized", "bounds/paper"],
    "bounds/occam": ["bounds/occam", "bounds/rule"],
    "bounds/orders": ["bounds/orders", "bounds/rule"],
    "bounds/pac_bayes": ["bounds/pac_bayes", "bounds/rule"],
    "bounds/paper": ["bounds/paper", "bounds/rule"],
    "bounds/peeling": ["bounds/peeling", "bounds/rule"],
    "bounds/refined": ["bounds/refined", "bounds/rule"],
    "bounds/trivial": ["bounds/trivial", "bounds/rule"],
    "bounds/union": ["bounds/union", "bounds/paper"],
    "evidence/sample": ["evidence/sample", "bounds/localized"],
    "training/constraints": ["training/constraints"],
}
SWAPS = {"min": "max", "any": "all", "minimum": "maximum", "amin": "amax"}
SWAPS |= {new: old for old, new in SWAPS.items()}


def more_operators(node):
    """Mutations that mutmut has not: one operand only, negated conditions, dropped statements."""
    brackets = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
    match node:
        case cst.BinaryOperation() | cst.BooleanOperation():
            for part in (node.left, node.right):
                lpar, rpar = (*node.lpar, *part.lpar), (*part.rpar, *node.rpar)
                yield part.with_changes(lpar=lpar, rpar=rpar)
        case cst.If(test=test):
            negated = cst.UnaryOperation(cst.Not(), test.with_changes(**brackets))
            yield node.with_changes(test=negated)
        case cst.Comparison():
            yield cst.UnaryOperation(cst.Not(), node.with_changes(**brackets), **brackets)
        case cst.Expr():
            yield cst.Pass()
        case cst.For(body=block):
            body = [cst.parse_statement("break"), *block.body]
            yield node.with_changes(body=block.with_changes(body=body))
        case cst.FunctionDef() | cst.ClassDef():
            for i in range(len(node.decorators)):
                kept = [*node.decorators[:i], *node.decorators[i + 1 :]]
                yield node.with_changes(decorators=kept)
        case cst.Name(value=value) if value in SWAPS:
            yield node.with_changes(value=SWAPS[value])
        case cst.Integer(value=value) if value != "0":
            yield node.with_changes(value=str(int(value) - 1))


def left_out(node):
    """Whether nothing in a node is to be changed."""
    match node:
        case cst.Annotation() | cst.Raise() | cst.FormattedString() | cst.ConcatenatedString():
            return True
        case cst.Expr(value=cst.SimpleString()) | cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case cst.SimpleString(value=text):
            return " " in text
        case cst.Arg(keyword=cst.Name(value="strict" | "device")):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            # __all__, and aliases of types.
            return name == "__all__" or (name[0].isupper() and not name.isupper())
    return False


class Mutant:
    """A change to a module: on which lines, and in which function, if in any."""

    def __init__(self, path, module, node, new, lines, function):
        self.path, self.module, self.node, self.new = path, module, node, new
        self.lines, self.function = lines, function

    def __str__(self):
        old, new = self.module.code.splitlines(), self.source.splitlines()
        line = next(new for old, new in zip(old, new, strict=False) if old != new)
        return f"{self.path.relative_to(PACKAGE)}:{self.lines[0]}: {line.strip()}"

    @property
    def source(self):
        return self.module.deep_replace(self.node, self.new).code

    def install(self):
        """Put the changed code in its place; only to be done in a process of its own."""
        code = compile(self.source, self.path, "exec")
        files = {name: str(getattr(m, "__file__", "")) for name, m in sys.modules.items()}
        if self.function:
            live = sys.modules[next(name for name in files if files[name] == str(self.path))]
            for part in self.function:
                code = next(c for c in code.co_consts if getattr(c, "co_name", None) == part)
                live = vars(live)[part]
            live = getattr(live, "fget", None) or getattr(live, "__func__", live)
            inspect.unwrap(live).__code__ = code
            return
        for name, file in files.items():
            if name != "__main__" and file.startswith(str(ROOT)):
                del sys.modules[name]
        original = SourceFileLoader.get_code
        SourceFileLoader.get_code = lambda loader, name: (
            code if loader.path == str(self.path) else original(loader, name)
        )


def mutants(path):
    """All mutants of a module."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text()))
    positions, module, found = wrapper.resolve(PositionProvider), wrapper.module, {}

    def visit(node, scope, function):
        if left_out(node):
            return
        operators = [operator for kind, operator in mutation_operators if isinstance(node, kind)]
        start, end = positions[node].start, positions[node].end
        lines = range(start.line, end.line + 1)
        for new in (new for operator in (*operators, more_operators) for new in operator(node)):
            text = module.code_for_node(new)
            if isinstance(node, cst.SimpleString) and "XX" not in text:
                # The same in other letters may mean the same.
                continue
            # Arguments that are left out must not be dropped either.
            kept = {arg for arg in getattr(node, "args", ()) if left_out(arg)}
            if text != module.code_for_node(node) and kept <= {*getattr(new, "args", kept)}:
                mutant = Mutant(path, module, node, new, lines, function)
                found.setdefault((start.line, start.column, type(node), text), mutant)
        for child in node.children:
            if isinstance(node, cst.FunctionDef | cst.ClassDef) and child is node.body:
                inner = (*scope, node.name.value)
                is_function = isinstance(node, cst.FunctionDef)
                visit(child, inner, function or (inner if is_function else ()))
            else:
                visit(child, scope, function)

    visit(module, (), ())
    return list(found.values())


def run(items):
    """Run tests until one fails; whether one did."""
    for item, following in pairwise([*items, None]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.testsfailed:
            return True
    return False


class Again:
    """The session in a fork: tests of a package that was imported with a mutant."""

    def __init__(self, tests):
        self.tests = tests

    def pytest_runtestloop(self, session):
        items = {item.nodeid: item for item in session.items}
        os._exit(session.testsfailed > 0 or run([items[test] for test in self.tests]))


class Mutation:
    """The session that collects the tests, and forks for every mutant."""

    def __init__(self, found, options, log):
        self.found, self.options, self.log, self.seconds = found, options, log, {}

    def pytest_runtestloop(self, session):
        self.items = {item.nodeid: item for item in session.items}
        watch = coverage.Coverage(data_file=None, include=[f"{PACKAGE}/*"], config_file=False)
        watch.start()
        for item, following in pairwise([*session.items, None]):
            watch.switch_context(item.nodeid)
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.seconds[item.nodeid] = time.process_time() - start
        watch.stop()
        if session.testsfailed:
            print("Tests fail without any mutant.", file=self.log)
            os._exit(2)
        self.data = watch.get_data()
        counts = Counter(self.outcome(mutant) for mutant in self.found)
        print(dict(counts), file=self.log, flush=True)
        os._exit(0)

    def outcome(self, mutant, patience=1):
        """Try a mutant in a process of its own."""
        tests = {*self.items}
        if mutant.function:
            by_line = self.data.contexts_by_lineno(str(mutant.path))
            tests &= {test for line in mutant.lines for test in by_line.get(line, ())}
        tests = sorted(tests, key=self.seconds.get)
        allowed = patience * int(10 + 3 * sum(map(self.seconds.get, tests)))
        if not (pid := os.fork()):
            resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 5))
            resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))
            os.dup2(1, 2)
            try:
                mutant.install()
                if mutant.function:
                    os._exit(run([self.items[test] for test in tests]))
                pytest.main(self.options, plugins=[Again(tests)])
            except SyntaxError:
                pass
            os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code in (-signal.SIGXCPU, -signal.SIGKILL) and patience == 1:
            return self.outcome(mutant, patience=5)
        result = {0: "survived", 1: "killed"}.get(code, f"stopped by {code}")
        if result != "killed":
            print(mutant, result, file=self.log, flush=True)
        return result


def main():
    modules = sys.argv[1:] or list(TESTS)
    os.chdir(ROOT)
    os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")
    found = [mutant for name in modules for mutant in mutants(PACKAGE / f"{name}.py")]
    tests = {Path("tests", test) for name in modules for test in TESTS[name]}
    files = sorted(str(test.with_name(f"test_{test.name}.py")) for test in tests)
    options = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *files]
    # A failure is enough: it need not be made small.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutation", phases=phases, database=None)
    hypothesis.settings.load_profile("mutation")
    with open(os.dup(1), "w") as log:
        print(f"{len(found)} mutants", file=log, flush=True)
        # The tests of the forks have nothing to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(pytest.main(options, plugins=[Mutation(found, options, log)]))


if __name__ == "__main__":
    main()
