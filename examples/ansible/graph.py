#!/usr/bin/env python3
"""Writes a playbook as a build definition (docs/formats/build-definition.md): every task file of every role becomes a step of its own.

A step mounts Ansible and what its role has, runs a play of that one task file, and is keyed by exactly that: the play with its variables, and the role without its
other task files. What the image is to have (Cmd, ExposedPorts…) is the variable slipway_image of a play. Roles are taken in Ansible's order, those that others depend on first. Runs where Ansible is installed: graph.py PLAYBOOK [BASE [ANSIBLE]].
"""
import json
import os
import sys
import sysconfig

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.vars.manager import VariableManager

MULTIARCH = sysconfig.get_config_var("MULTIARCH")
# Ansible is mounted at /ansible, with the Python and the libraries that it came with.
ENVIRONMENT = {
    "PYTHONHOME": "/ansible/usr",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LD_LIBRARY_PATH": f"/ansible/usr/lib/{MULTIARCH}:/ansible/lib/{MULTIARCH}",
    "ANSIBLE_ROLES_PATH": "/playbook/roles",
    "ANSIBLE_HOME": "/run/ansible",
    "ANSIBLE_LOCAL_TEMP": "/run/ansible",
    "ANSIBLE_REMOTE_TEMP": "/run/ansible",
    "ANSIBLE_PYTHON_INTERPRETER": "/ansible/usr/bin/python3",
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
}
COMMAND = ["/ansible/usr/bin/python3", "/ansible/usr/bin/ansible-playbook", "-i", "localhost,", "-c", "local", "/playbook/play/play.json"]


def fail(message):
    sys.exit(f"graph.py: {message}")


def task_files(role_path, loader):
    """Those that tasks/main.yml imports when it does nothing else and asks for no condition; else itself."""
    tasks = os.path.join(role_path, "tasks")
    listed = loader.load_from_file(os.path.join(tasks, "main.yml")) or []
    imported = [task.get("ansible.builtin.import_tasks", task.get("import_tasks")) for task in listed]
    plain = all(len(task) == 1 and isinstance(name, str) and "{" not in name for task, name in zip(listed, imported))
    return imported if plain and imported else ["main.yml"]


def roles_in_order(play):
    """Every role once for the same parameters, those that it depends on before it."""
    seen = []
    for role in play.get_roles():
        for each in [*role.get_all_dependencies(), role]:
            key = (each.get_name(), json.dumps(each.get_role_params(), sort_keys=True, default=str))
            if key not in [other for other, _ in seen]:
                seen.append((key, each))
    return [role for _, role in seen]


def definition(playbook_path, base, ansible):
    loader = DataLoader()
    folder = os.path.dirname(os.path.abspath(playbook_path))
    loader.set_basedir(folder)
    inventory = InventoryManager(loader=loader, sources=["localhost,"])
    playbook = Playbook.load(playbook_path, variable_manager=VariableManager(loader=loader, inventory=inventory), loader=loader)
    steps = [
        {"id": "base", "kind": "image", "reference": base},
        {"id": "ansible", "kind": "image", "reference": ansible},
        {"id": "playbook", "kind": "context"},
        {"id": "nothing", "kind": "scratch"},
    ]
    latest = "base"
    image = {}
    for play in playbook.get_plays():
        if play.get_tasks() and any(block for block in [*play.pre_tasks, *play.tasks, *play.post_tasks]):
            fail(f'the play "{play.get_name()}" has tasks of its own: put them into a role, so that they can be a step')
        image = {**image, **play.vars.pop("slipway_image", {})}
        for role in roles_in_order(play):
            path = os.path.relpath(role._role_path, folder)  # pylint: disable=protected-access
            if path.startswith(".."):
                fail(f'the role "{role.get_name()}" is outside the playbook\'s folder, which is the build context')
            for tasks in task_files(role._role_path, loader):  # pylint: disable=protected-access
                number = len(steps)
                steps += step(number, latest, play, role, path, tasks)
                latest = f"run{number}"
    return {"slipwayBuild": 1, "steps": steps, "target": latest, "image": image}


def step(number, latest, play, role, path, tasks):
    name, title = role.get_name(), f"{role.get_name()}/{tasks}"
    imported = {"name": name, "tasks_from": tasks, "allow_duplicates": True}
    # Dependencies are steps of their own, so this one must not run them again.
    content = [
        {
            "name": title,
            "hosts": "all",
            "gather_facts": play.gather_facts is not False,
            "vars": {**play.vars, **role.get_role_params()},
            "tasks": [{"name": title, "ansible.builtin.import_role": imported}],
        }
    ]
    text = json.dumps(content, indent=2, sort_keys=True, default=str)
    without = ["meta", "tasks/*", f"!tasks/{tasks}"]
    return [
        {"id": f"play{number}", "kind": "files", "name": f"play of {title}", "files": [{"path": "/play.json", "text": text}]},
        {"id": f"role{number}", "kind": "copy", "name": f"role of {title}", "base": "nothing", "from": "playbook", "paths": [f"/{path}"], "to": "/", "exclude": without},
        {
            "id": f"run{number}",
            "kind": "run",
            "name": f"ansible {title}",
            "base": latest,
            "args": COMMAND,
            "env": ENVIRONMENT,
            "user": "root",
            "workingDir": "/",
            "mounts": [
                {"kind": "bind", "target": "/ansible", "from": "ansible"},
                {"kind": "bind", "target": "/playbook/play", "from": f"play{number}"},
                {"kind": "bind", "target": f"/playbook/roles/{name}", "from": f"role{number}"},
                {"kind": "tmpfs", "target": "/run/ansible"},
                {"kind": "cache", "target": "/var/cache/apt", "sharing": "locked"},
                {"kind": "cache", "target": "/var/lib/apt/lists", "sharing": "locked"},
            ],
        },
    ]


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        fail("usage: graph.py PLAYBOOK [BASE [ANSIBLE]]")
    base, ansible = (sys.argv[2:] + ["debian:bookworm", "ansible:latest"][len(sys.argv) - 2 :])[:2]
    json.dump(definition(sys.argv[1], base, ansible), sys.stdout, indent=1)
