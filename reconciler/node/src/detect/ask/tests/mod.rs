//! Against real servers on loopback that answer well, badly, or not at all.

mod against_http;
mod against_mcp;
mod server;
