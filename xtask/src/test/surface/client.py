"""A conversation with `osmoda mcp` through the reference client of the Model Context Protocol.

Argument: the osmoda binary; its directories come from the environment. Exits 0 if every answer is
as it should be.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

READING = ["status", "diff", "describe", "events", "plan"]
ACTING = ["restart", "pause", "resume", "rollback"]
PLACES = ("OSMODA_STATE_DIR", "OSMODA_RUNTIME_DIR")


def field(thing, *names):
    """A field by the first of its names that this version of the client has."""
    for name in names:
        if hasattr(thing, name):
            return getattr(thing, name)
    raise AttributeError(f"{thing!r} has none of {names}")


async def ask(session, tool, arguments=None):
    """What a tool finds; its text and its structured content have to say the same."""
    result = await session.call_tool(tool, arguments or {})
    text = result.content[0].text
    assert not field(result, "is_error", "isError"), f"{tool}: {text}"
    found = json.loads(text)
    assert field(result, "structured_content", "structuredContent") == found, tool
    return found


async def conversation(osmoda, arguments, environment, say):
    server = StdioServerParameters(command=osmoda, args=["mcp", *arguments], env=environment)
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        await session.send_ping()
        await say(session)


async def looks(session):
    tools = (await session.list_tools()).tools
    assert [tool.name for tool in tools] == READING, tools
    assert all(field(t.annotations, "read_only_hint", "readOnlyHint") for t in tools), tools
    status = await ask(session, "status")
    assert {item["metadata"]["name"] for item in status["items"]} >= {"steady", "failing"}
    assert (await ask(session, "status", {"agent": "steady"}))["status"]["ready"] is True
    about = await ask(session, "describe", {"agent": "failing"})
    assert about["agent"]["metadata"]["name"] == "failing" and about["events"], about
    assert len((await ask(session, "events", {"limit": 3}))["items"]) == 3
    assert "steps" in await ask(session, "plan")
    assert "inSync" in await ask(session, "diff")
    unknown = await session.call_tool("describe", {"agent": "nobody"})
    assert field(unknown, "is_error", "isError"), unknown
    assert 'there is no agent "nobody"' in unknown.content[0].text, unknown
    try:
        refused = await session.call_tool("restart", {"agent": "steady"})
    except Exception as error:  # how a protocol error is raised differs by version
        assert "--allow-actions" in str(error), error
    else:
        raise AssertionError(f"restart was carried out: {refused}")


async def acts(session):
    tools = (await session.list_tools()).tools
    assert [tool.name for tool in tools] == READING + ACTING, tools
    for tool, arguments in [
        ("pause", {"agent": "steady", "reason": "a try"}),
        ("resume", {"agent": "steady"}),
        ("restart", {"agent": "steady"}),
    ]:
        assert (await ask(session, tool, arguments))["accepted"] is True
        events = await ask(session, "events", {"agent": "steady"})
        commands = [e["entry"] for e in events["items"] if e["entry"]["kind"] == "OperatorCommand"]
        assert commands[-1]["body"]["verb"] == tool, commands
        assert commands[-1]["actor"]["command"] == "osmoda", commands


async def misses(session):
    away = await session.call_tool("status", {})
    assert field(away, "is_error", "isError"), away
    assert "is the node daemon running?" in away.content[0].text, away


async def main(osmoda):
    places = {name: os.environ[name] for name in PLACES}
    await conversation(osmoda, [], places, looks)
    await conversation(osmoda, ["--allow-actions"], places, acts)
    nowhere = dict.fromkeys(PLACES, "/nonexistent")
    await conversation(osmoda, [], nowhere, misses)
    print("seen: five tools looked, three acted where allowed and on record, an absent daemon was told")


asyncio.run(main(sys.argv[1]))
