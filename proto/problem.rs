//! Numbered errors: one [`Code`] for each way to fail, and its one mapping to a gRPC code, an HTTP status
//! and an exit code.
//!
//! Numbers below 60000 are those of the earlier experiment manager (kept for its users); 61xxx is safety,
//! 62xxx fleet and transport, 63xxx input.

use std::{collections::HashMap, error::Error, fmt};

use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{client, v1};

const DOMAIN: &str = "chaoskitty";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $grpc:ident, $http:literal;)*) => {
        /// A way to fail. The number is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable number, shown to users and kept in records.
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The gRPC status code.
            pub const fn grpc(self) -> Grpc {
                match self { $(Self::$name => Grpc::$grpc,)* }
            }

            /// The HTTP status of a REST answer.
            pub const fn http(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }
        }
    };
}

codes! {
    /// A defect in ChaosKitty itself.
    Internal = 10000, Internal, 500;
    /// The target did not take the experiment's action.
    DidNotStart = 12001, FailedPrecondition, 409;
    /// Recycling what nothing recreates.
    NotCattle = 12002, FailedPrecondition, 409;
    /// No platform of that name.
    UnknownPlatform = 12004, NotFound, 404;
    /// A self healing step failed.
    HealingFailed = 13001, Internal, 500;
    /// Fewer targets than methods and survivors.
    NotEnoughTargets = 13004, FailedPrecondition, 409;
    /// The group's targets have no experiment method of that name.
    NoSuchExperimentMethod = 13005, InvalidArgument, 400;
    /// Another suite is running.
    SuiteRunning = 13006, FailedPrecondition, 409;
    /// No target of that id or name, or a named one of another group.
    NoSuchTarget = 13007, NotFound, 404;
    /// The target lacks a program that the action needs.
    MissingDependency = 15004, FailedPrecondition, 409;
    /// A script that can not be read.
    ScriptUnreadable = 15901, Internal, 500;
    /// A script's header says one of two things that belong together.
    ScriptHeader = 15903, InvalidArgument, 400;

    /// Halted: nothing is admitted until resume.
    Halted = 61001, FailedPrecondition, 409;
    /// It would leave a group without the survivors it must keep.
    TooFewSurvivors = 61002, FailedPrecondition, 409;
    /// A limit on faults at a time is reached.
    LimitReached = 61003, ResourceExhausted, 429;
    /// The policy of the target's host forbids it.
    PolicyForbids = 61004, PermissionDenied, 403;
    /// The target is protected (the kitty's own processes, PID 1, sshd, container runtimes).
    Protected = 61005, PermissionDenied, 403;
    /// A fault on the same resource of the target is in force.
    AlreadyHeld = 61006, FailedPrecondition, 409;
    /// The target is in the wanted state already, by somebody else's doing.
    AlreadyInState = 61007, FailedPrecondition, 409;
    /// The target's own limits leave no room for it.
    TargetLimit = 61008, ResourceExhausted, 409;
    /// Putting a fault back failed; a person is needed.
    Stuck = 61009, Internal, 500;
    /// The guard is not there, so nothing may be injected.
    GuardUnavailable = 61010, Unavailable, 503;
    /// The journal can not be written, so nothing may be injected.
    JournalUnavailable = 61011, Unavailable, 503;
    /// After a start of the server, a group waits for its agents.
    Settling = 61012, Unavailable, 503;
    /// What carried a fault out was ended before its time by somebody else.
    BrokeOff = 61013, Aborted, 409;
    /// The administrative state admits nothing of the kind.
    NotAdmitted = 61014, FailedPrecondition, 409;
    /// The suite's steady state does not hold.
    NotSteady = 61015, FailedPrecondition, 409;
    /// A fault was not in force for as long as it was to be: somebody else ended it.
    EffectLost = 61016, Aborted, 409;
    /// A script ended with an error before its time.
    ScriptFailed = 61017, Aborted, 409;
    /// The target would be gone for good: nothing could bring it back.
    WouldVanish = 61018, FailedPrecondition, 409;
    /// Whoever runs the target (a container engine, the service manager) refused, or could not do it.
    SupervisorRefused = 61020, FailedPrecondition, 409;
    /// Nothing was heard of a target for too long: its agent is away, or can not see it.
    TargetAway = 61021, Unavailable, 503;
    /// The script stops only at a limit of the target's own, and the target has none: it would take the host's.
    NeedsOwn = 61025, FailedPrecondition, 409;

    /// The target's agent is not connected.
    AgentUnreachable = 62001, Unavailable, 503;
    /// The agent did not acknowledge in time; what became of the action is not known.
    NoAnswer = 62002, DeadlineExceeded, 504;
    /// The target went away between choice and dispatch, or while the fault was in force.
    TargetGone = 62003, NotFound, 404;
    /// The target's incarnation is another one now (a recycled pid).
    Recycled = 62004, FailedPrecondition, 409;
    /// The order was under way for too long.
    OrderTooLate = 62005, DeadlineExceeded, 504;
    /// The order or its server is older than one already obeyed.
    StaleEpoch = 62006, FailedPrecondition, 409;
    /// Another node of that id is attached.
    DuplicateAgent = 62007, AlreadyExists, 409;
    /// The stream broke the protocol: no Hello first, a second one, an impossible message.
    ProtocolViolation = 62008, InvalidArgument, 400;
    /// No common version of the stream's protocol.
    ProtocolVersion = 62009, FailedPrecondition, 409;
    /// A message or body is over its limit.
    TooLarge = 62010, ResourceExhausted, 413;
    /// The receiver did not keep up and was cut off.
    FellBehind = 62011, ResourceExhausted, 429;
    /// A relay would forward to itself.
    RelayLoop = 62012, FailedPrecondition, 409;
    /// The store can not be read or written.
    StoreUnavailable = 62013, Unavailable, 503;
    /// The server is stopping.
    Stopping = 62014, Unavailable, 503;
    /// Nothing answers at that address.
    NotReachable = 62015, Unavailable, 503;
    /// The other end's certificate, or one's own, is not accepted.
    Tls = 62016, Unauthenticated, 401;
    /// The connection was lost before the answer.
    ConnectionLost = 62017, Unavailable, 503;
    /// An address or a folder is in use by another program.
    InUse = 62018, FailedPrecondition, 409;
    /// A step was begun before, and what came of it was never known.
    OutcomeUnknown = 62019, Unknown, 500;
    /// A part of the target or of its host is there, and could not be looked at.
    CannotLook = 62025, Unavailable, 503;
    /// A socket, folder or file that another user has made, or could replace.
    Untrusted = 62026, PermissionDenied, 403;

    /// A record that can not be read was set aside.
    Unreadable = 62020, DataLoss, 500;
    /// What a target is under can not be read: it is left alone until that is over for certain.
    Unclear = 62021, Unavailable, 503;
    /// A request did not come in whole in time.
    RequestTooSlow = 62022, DeadlineExceeded, 408;

    /// A value is malformed or out of its range.
    InvalidArgument = 63001, InvalidArgument, 400;
    /// The target's platform can not do this.
    Unsupported = 63002, FailedPrecondition, 409;
    /// No action of that id.
    NoSuchAction = 63003, NotFound, 404;
    /// No operation of that name.
    NoSuchOperation = 63004, NotFound, 404;
    /// The name fits several targets, or the group several platforms.
    Ambiguous = 63005, InvalidArgument, 400;
    /// The duration is over a maximum.
    DurationTooLong = 63006, InvalidArgument, 400;
    /// JSON that can not be read.
    MalformedJson = 63007, InvalidArgument, 400;
    /// A body that is not application/json.
    UnsupportedMediaType = 63008, InvalidArgument, 415;
    /// A browser on another origin, or a foreign Host header.
    ForeignOrigin = 63009, PermissionDenied, 403;
    /// No such path.
    NoSuchPath = 63010, Unimplemented, 404;
    /// The path has no such method.
    NoSuchMethod = 63011, Unimplemented, 405;
    /// More than the host or target has.
    TooMuch = 63012, InvalidArgument, 400;
    /// No script of that name.
    NoSuchScript = 63013, NotFound, 404;
    /// A configuration or command line that can not be used.
    Usage = 63014, InvalidArgument, 400;
    /// No experiment of that id.
    NoSuchExperiment = 63015, NotFound, 404;
    /// No suite at that time.
    NoSuchSuite = 63016, NotFound, 404;
    /// A path of the earlier experiment manager that is no more.
    Gone = 63017, Unimplemented, 410;
}

impl Code {
    /// The code of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The exit code of a program that ends with this: 2 wrong usage, 4 not reachable, 1 everything else.
    pub const fn exit(self) -> u8 {
        match self {
            Self::NotReachable | Self::Tls | Self::ConnectionLost => 4,
            _ if self.number() >= 63_000 && matches!(self.grpc(), Grpc::InvalidArgument) => 2,
            _ => 1,
        }
    }
}

/// What went wrong, for whoever asked: what was tried and what happened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Which way to fail.
    pub code: Code,
    /// What was tried and what happened.
    pub message: String,
    /// What to do. Empty: nothing useful to say.
    pub hint: String,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// A malformed value: `field` is its path in the request, e.g. `action.cpu.load`.
    pub fn invalid(field: &str, what: impl fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, format!("{field}: {what}"))
    }

    /// Why a stream of news broke off: the server's own word, or that the connection is gone.
    pub fn of_stream(status: Status) -> Self {
        let details = status.get_error_details();
        if details.error_info().is_some_and(|info| info.domain == DOMAIN) {
            return status.into();
        }
        Self::new(Code::ConnectionLost, "the connection broke off while news was awaited").hint(
            "see whether the server runs (`kittyctl status`); a proxy on the way may end streams that it takes for idle",
        )
    }

    /// A defect in ChaosKitty itself.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(Code::Internal, what.to_string())
            .hint("this is a defect; please report it with the log around it")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.number(), self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// The name of a gRPC code as the standard writes it, e.g. `FAILED_PRECONDITION`.
pub const fn grpc_name(code: Grpc) -> &'static str {
    match code {
        Grpc::Ok => "OK",
        Grpc::Cancelled => "CANCELLED",
        Grpc::Unknown => "UNKNOWN",
        Grpc::InvalidArgument => "INVALID_ARGUMENT",
        Grpc::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Grpc::NotFound => "NOT_FOUND",
        Grpc::AlreadyExists => "ALREADY_EXISTS",
        Grpc::PermissionDenied => "PERMISSION_DENIED",
        Grpc::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Grpc::FailedPrecondition => "FAILED_PRECONDITION",
        Grpc::Aborted => "ABORTED",
        Grpc::OutOfRange => "OUT_OF_RANGE",
        Grpc::Unimplemented => "UNIMPLEMENTED",
        Grpc::Internal => "INTERNAL",
        Grpc::Unavailable => "UNAVAILABLE",
        Grpc::DataLoss => "DATA_LOSS",
        Grpc::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code.number(),
            status: grpc_name(problem.code.grpc()).to_owned(),
            message: problem.message,
            hint: problem.hint,
        }
    }
}

impl From<v1::Problem> for Problem {
    /// A number that this build does not know becomes [`Code::Internal`], its text is kept.
    fn from(wire: v1::Problem) -> Self {
        Self {
            code: Code::from_number(wire.code).unwrap_or(Code::Internal),
            message: wire.message,
            hint: wire.hint,
        }
    }
}

impl From<Problem> for Status {
    /// The number and the hint travel as a `google.rpc.ErrorInfo`.
    fn from(problem: Problem) -> Self {
        let metadata = HashMap::from([
            ("code".to_owned(), problem.code.number().to_string()),
            ("hint".to_owned(), problem.hint),
        ]);
        let details = ErrorDetails::with_error_info(format!("{:?}", problem.code), DOMAIN, metadata);
        Status::with_error_details(problem.code.grpc(), problem.message, details)
    }
}

impl From<Status> for Problem {
    /// A status of ours gives back the problem it was made of; any other becomes the nearest code.
    fn from(status: Status) -> Self {
        // A server that does not accept a client's certificate says so only after the handshake.
        if status.source().is_some() && client::is_tls(&status) {
            return Self::new(Code::Tls, client::chain(&status)).hint(client::TLS_HINT);
        }
        // A status that has a cause was made on this side: the other end does not speak HTTP/2 without TLS.
        if status.source().is_some() && status.code() == Grpc::Internal {
            return Self::new(Code::NotReachable, client::chain(&status)).hint(client::PLAIN_HINT);
        }
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let field = |name: &str| info.and_then(|info| info.metadata.get(name)).cloned();
        let numbered = field("code").and_then(|code| Code::from_number(code.parse().ok()?));
        let code = numbered.unwrap_or(match status.code() {
            Grpc::Unavailable | Grpc::Cancelled | Grpc::Unknown => Code::ConnectionLost,
            Grpc::DeadlineExceeded => Code::NoAnswer,
            Grpc::InvalidArgument => Code::InvalidArgument,
            Grpc::ResourceExhausted => Code::LimitReached,
            Grpc::Unimplemented => Code::NoSuchPath,
            Grpc::Unauthenticated | Grpc::PermissionDenied => Code::Tls,
            Grpc::OutOfRange => Code::TooLarge,
            _ => Code::Internal,
        });
        Self { code, message: status.message().to_owned(), hint: field("hint").unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_is_unique_and_leads_back_to_its_code() {
        let numbers: HashSet<u32> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| Code::from_number(code.number()) == Some(*code)));
    }

    #[test]
    fn a_problem_survives_the_way_through_a_grpc_status() {
        for code in Code::ALL {
            let sent = Problem::new(*code, "tried this").hint("do that");
            assert_eq!(Problem::from(Status::from(sent.clone())), sent);
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_told_in_our_own_words() {
        let raw = Status::new(Grpc::Internal, "h2 protocol error: error reading a body from connection");
        let problem = Problem::of_stream(raw);
        assert!(problem.code == Code::ConnectionLost && !problem.to_string().contains("h2"), "{problem}");
        let ours = Problem::new(Code::FellBehind, "behind").hint("read faster");
        assert_eq!(Problem::of_stream(Status::from(ours.clone())), ours);
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        assert_eq!(Code::Halted.exit(), 1);
        assert_eq!(Code::NoSuchTarget.exit(), 1);
        assert_eq!(Code::InvalidArgument.exit(), 2);
        assert_eq!(Code::NotReachable.exit(), 4);
    }
}
