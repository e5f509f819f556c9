//! The steps of a session that speaks the binary protocol. They go with those of the text protocol
//! in the parent module; what differs is only where a request ends and how it is read.

use nuthatch_types::Cas;

use super::buffers::RECV_BYTES;
use super::handler::{Handler, Sink as _};
use super::reply::{Context, Reply};
use super::{Body, SINK_LEN_MIN, Session, State, Step};
use crate::admin::{Admin, Config};
use crate::binary::{self, Frame, Head, Status, parse_frame, write};
use crate::error::{NO_MEMORY_READING, TOO_LARGE};
use crate::request::{MECHANISM_LEN_MAX, Request, Sasl};

/// What a login gets whose data are longer than a receive buffer, where the handler does not
/// refuse it anyway.
const NO_MEMORY_FOR_LOGIN: &str = "SERVER_ERROR Out of memory";

/// A frame that is refused, while its bytes go by.
pub(super) struct Skip {
    pub(super) left: usize,
    head: Head,
    answer: Refused,
    is_final: bool,
}

enum Refused {
    /// By its header.
    Header(Status),
    /// By the handler.
    Handler(&'static str),
}

// Kept out of line: the steps of the text protocol are one function with the loop around them.
impl<H: Handler> Session<H> {
    #[inline(never)]
    pub(super) fn step_frame(&mut self, handler: &mut H) -> Step {
        let input = &self.recv[self.start..self.end];
        if input.is_empty() || input.len() < self.need {
            return Step::Starved;
        }
        match parse_frame(input, self.needs_login()) {
            Frame::Need(need) => {
                self.need = need;
                Step::Starved
            }
            Frame::Request { request: Request::Sasl(sasl), header, opcode, len }
                if self.asks_login && sasl.mechanism_len() > MECHANISM_LEN_MAX =>
            {
                let head = Head::new(&header, opcode);
                let left = len + header.value_len();
                let answer = Refused::Header(Status::INVALID_ARGUMENTS);
                self.skip(Skip { left, head, answer, is_final: false });
                Step::Done
            }
            Frame::Request { request, header, opcode, len } => {
                let head = Head::new(&header, opcode);
                let (line, behind) = input.split_at(len);
                let (request, value_len) = match request.value_len() {
                    None => (request, 0),
                    Some(value_len) if behind.len() < value_len => {
                        return self.begin_frame_value(handler, len, value_len);
                    }
                    Some(value_len) => (request.with_value(&behind[..value_len]), value_len),
                };
                let mut context = Context::frame(head, line);
                if let Request::Sasl(sasl) = request {
                    // Asked who it is, a client is nobody until that is answered.
                    self.desk.log_out();
                    context.is_login = !matches!(sasl, Sasl::List);
                }
                let is_login = context.is_login;
                let n_gaps = self.queue.n_gaps();
                let mut reply =
                    Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
                let outcome = handler.call(request, &mut reply);
                self.consume(len + value_len);
                if is_login {
                    return self.login_outcome(outcome, n_gaps);
                }
                self.outcome(outcome)
            }
            Frame::Noop(header) => {
                // As for `mn` of the text protocol, what is queued is sent when the input at hand
                // is used up.
                let head = Head::refused(&header);
                write::response(&mut self.queue.arena, head, Status::OK, Cas(0), b"");
                self.consume(binary::HEADER_LEN);
                Step::Done
            }
            Frame::Quit(header, opcode) => {
                if !opcode.quiet {
                    let head = Head::refused(&header);
                    write::response(&mut self.queue.arena, head, Status::OK, Cas(0), b"");
                }
                self.consume(binary::HEADER_LEN);
                self.is_end_wanted = true;
                self.state = State::Closing;
                Step::Done
            }
            Frame::Refused { header, status, is_final, len } => {
                let head = Head::refused(&header);
                self.skip(Skip { left: len, head, answer: Refused::Header(status), is_final });
                Step::Done
            }
            Frame::Alien => {
                self.state = State::Closing;
                Step::Done
            }
        }
    }

    /// The value of the request at hand has not arrived in full; see `begin_value`.
    fn begin_frame_value(&mut self, handler: &mut H, len: usize, value_len: usize) -> Step {
        let line = &self.recv[self.start..self.start + len];
        let Frame::Request { request, header, opcode, .. } = parse_frame(line, self.needs_login())
        else {
            unreachable!("the frame has just been read as a request");
        };
        let whole = len + value_len;
        // A configuration is waited for in the receive buffer, which grows as far as one may be
        // long.
        let is_waited_for = is_config_set(&request) && value_len <= Config::LEN_MAX;
        let enough = if is_waited_for { whole } else { whole.min(SINK_LEN_MIN) };
        if self.end - self.start < enough {
            self.need = enough;
            return Step::Starved;
        }
        let refusal = match handler.reserve(&request, value_len) {
            Ok(sink) if request.is_reservable() => {
                self.state =
                    State::Body(Box::new(Body { sink, left: value_len, line: line.into() }));
                self.consume(len);
                return Step::Done;
            }
            Ok(_) if is_config_set(&request) => TOO_LARGE,
            Ok(_) => NO_MEMORY_FOR_LOGIN,
            Err(line) => line,
        };
        let head = Head::new(&header, opcode);
        let answer = Refused::Handler(refusal);
        self.skip(Skip { left: whole, head, answer, is_final: false });
        Step::Done
    }

    fn skip(&mut self, skip: Skip) {
        self.state = State::Skip(skip);
    }

    #[inline(never)]
    pub(super) fn step_skip(&mut self) -> Step {
        let State::Skip(skip) = &mut self.state else {
            return Step::Starved;
        };
        let n = skip.left.min(self.end - self.start);
        skip.left -= n;
        self.start += n;
        self.need = 0;
        if skip.left > 0 {
            return Step::Starved;
        }
        let State::Skip(skip) = std::mem::replace(&mut self.state, State::Line) else {
            unreachable!("the state is a skip until here");
        };
        let Skip { head, answer, is_final, .. } = skip;
        match answer {
            Refused::Header(status) => {
                let text = status.text().as_bytes();
                write::response(&mut self.queue.arena, head, status, Cas(0), text);
            }
            Refused::Handler(line) => {
                let context = Context::frame(head, b"");
                Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context).error(line);
            }
        }
        if is_final {
            self.state = State::Closing;
        }
        Step::Done
    }

    #[inline(never)]
    pub(super) fn step_frame_body(&mut self, handler: &mut H) -> Step {
        let State::Body(body) = &mut self.state else {
            return Step::Starved;
        };
        if body.left > 0 && !body.sink.space().is_empty() {
            return Step::Starved;
        }
        let State::Body(body) = std::mem::replace(&mut self.state, State::Line) else {
            unreachable!("the state is a body until here");
        };
        let Body { sink, left, line } = *body;
        let Frame::Request { request, header, opcode, .. } = parse_frame(&line, self.needs_login())
        else {
            unreachable!("the frame was read as a request before");
        };
        let head = Head::new(&header, opcode);
        if left > 0 {
            // The handler had a place, and then no more of it.
            let answer = Refused::Handler(NO_MEMORY_READING);
            self.skip(Skip { left, head, answer, is_final: false });
            return Step::Done;
        }
        let context = Context::frame(head, &line);
        let mut reply = Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
        let outcome = handler.commit(request, sink, &mut reply);
        self.outcome(outcome)
    }
}

const fn is_config_set(request: &Request<'_>) -> bool {
    matches!(request, Request::Admin(Admin::Config(Config::Set { .. })))
}

// A login's data must be waited for in full, so the two limits are the same.
const _: () = assert!(SINK_LEN_MIN == RECV_BYTES);
