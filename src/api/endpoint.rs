//! What every endpoint has in common, and the table of them.

use super::{
    Options, blocks,
    error::ApiError,
    params::Params,
    recall,
    reply::{Fields, Format},
    send, users,
};
use crate::{
    apps::App,
    hub::Hub,
    model::UserKey,
    relay::{Answer, Command, Refused},
};
use futures_util::future::BoxFuture;
use std::{borrow::Cow, sync::Arc, time::Duration};

/// What a running call has at hand.
#[derive(Clone)]
pub(super) struct Context {
    /// The way to the relay and the store.
    pub(super) hub: Hub,
    /// Settings.
    pub(super) options: Arc<Options>,
    /// The app that calls.
    pub(super) app: App,
}

/// An endpoint: reading its parameters is one thing, doing it another.
pub(super) trait Endpoint: Sized + Send + 'static {
    /// Reads and checks the parameters of a call by `app`. Pure.
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError>;

    /// Does it; the answer's own fields come back.
    fn run(self, context: Context) -> impl Future<Output = Outcome> + Send;
}

/// What comes of a call.
pub(super) type Outcome = Result<Fields, ApiError>;

/// What a path leads to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// The path as the table has it.
    pub(super) name: &'static str,
    /// Takes the call.
    pub(super) start: Start,
}

/// Checks a call and gets it ready to run.
pub(super) type Start = fn(Context, &Params<'_>) -> Result<BoxFuture<'static, Outcome>, ApiError>;

fn start<E: Endpoint>(
    context: Context,
    params: &Params<'_>,
) -> Result<BoxFuture<'static, Outcome>, ApiError> {
    let call = E::parse(&context.app.key, params)?;
    Ok(Box::pin(call.run(context)))
}

/// The endpoints by path, without the leading slash and the suffix.
const ENDPOINTS: &[(&str, Start)] = &[
    ("user/getToken", start::<users::GetToken>),
    ("user/refresh", start::<users::Refresh>),
    ("user/info", start::<users::Info>),
    ("user/checkOnline", start::<users::CheckOnline>),
    ("user/token/expire", start::<users::ExpireTokens>),
    ("user/block", start::<blocks::Block>),
    ("user/unblock", start::<blocks::Unblock>),
    ("user/block/query", start::<blocks::BlockQuery>),
    ("user/blacklist/add", start::<blocks::BlacklistAdd>),
    ("user/blacklist/remove", start::<blocks::BlacklistRemove>),
    ("user/blacklist/query", start::<blocks::BlacklistQuery>),
    ("user/blocklist/add", start::<blocks::BlacklistAdd>),
    ("user/blocklist/remove", start::<blocks::BlacklistRemove>),
    ("user/blocklist/query", start::<blocks::BlacklistQuery>),
    ("message/private/publish", start::<send::Private>),
    ("message/publish", start::<send::Private>),
    ("message/system/publish", start::<send::System>),
    ("message/recall", start::<recall::Recall>),
];

/// The endpoint at `path`, and the format that its suffix asks for. Runs of slashes count as one; case matters.
pub(super) fn locate(path: &str) -> (Format, Option<Target>) {
    let path = collapse(path);
    let (name, format) = if let Some(name) = path.strip_suffix(".json") {
        (name, Format::Json)
    } else if let Some(name) = path.strip_suffix(".xml") {
        (name, Format::Xml)
    } else {
        return (Format::Json, None);
    };
    let name = name.strip_prefix('/');
    let found = ENDPOINTS.iter().find(|(is, _)| name == Some(is));
    (format, found.map(|&(name, start)| Target { name, start }))
}

fn collapse(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut short = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !short.ends_with('/') {
            short.push(c);
        }
    }
    short.into()
}

impl Context {
    /// A user of the calling app.
    pub(super) fn user(&self, field: &str, id: &str) -> Result<UserKey, ApiError> {
        UserKey::new(&self.app.key, id).map_err(|why| ApiError::bad_id(field, why))
    }

    /// Asks for one thing.
    pub(super) async fn ask(&self, user: UserKey, command: Command) -> Result<Answer, ApiError> {
        let answers = self.ask_all(vec![(user, command)]).await;
        match answers.into_iter().next() {
            Some(answer) => answer.map_err(ApiError::from),
            None => Err(ApiError::internal()),
        }
    }

    /// Asks for all; those for which the node is too busy are asked again, a few times and not for long.
    ///
    /// Answers are in the order of the questions. A caller that is told "busy" tries again with everything, also with what
    /// has been done: so it is told as rarely as can be.
    pub(super) async fn ask_all(&self, commands: Vec<(UserKey, Command)>) -> Vec<Result<Answer, Refused>> {
        let mut answers = self.hub.ask_all(commands.clone()).await;
        answers.resize(commands.len(), Err(Refused::Ended));
        for _ in 0..BUSY_ROUNDS {
            let busy: Vec<usize> =
                (0..answers.len()).filter(|&i| matches!(answers[i], Err(Refused::Busy(_)))).collect();
            let wait = busy.iter().filter_map(|&i| match answers[i] {
                Err(Refused::Busy(wait)) => Some(wait),
                _ => None,
            });
            let Some(wait) = wait.max() else { break };
            tokio::time::sleep(wait.min(BUSY_WAIT)).await;
            let again = busy.iter().map(|&i| commands[i].clone()).collect();
            for (i, answer) in busy.into_iter().zip(self.hub.ask_all(again).await) {
                answers[i] = answer;
            }
        }
        answers
    }

    /// Asks for all; they have to succeed.
    pub(super) async fn tell_all(&self, commands: Vec<(UserKey, Command)>) -> Outcome {
        for answer in self.ask_all(commands).await {
            answer?;
        }
        Ok(Fields::none())
    }
}

/// How often a busy node is asked again.
const BUSY_ROUNDS: usize = 3;
/// The longest wait before that.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// The relay gave an answer of another sort than the question has.
pub(super) fn surprising(answer: &Answer) -> ApiError {
    tracing::error!(
        kind = ?std::mem::discriminant(answer),
        "server api: the relay's answer does not fit the question"
    );
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_suffix_and_a_case_and_any_number_of_slashes() {
        let found = |path| {
            let (format, target) = locate(path);
            target.map(|_| format)
        };
        for path in ["/user/getToken.json", "//user/getToken.json", "/user///getToken.json"] {
            assert_eq!(found(path), Some(Format::Json), "{path}");
        }
        assert_eq!(found("/user/checkOnline.xml"), Some(Format::Xml));
        for path in [
            "/",
            "",
            "/.json",
            "user/getToken.json",
            "/user/getToken",
            "/user/gettoken.json",
            "/user/getToken.JSON",
            "/user/getToken.json/",
            "/user/getToken.json.json",
            "/user/get%54oken.json",
            "/x/user/getToken.json",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(locate("/nothing.xml").0, Format::Xml);
    }

    #[test]
    fn no_path_is_there_twice() {
        let mut paths: Vec<_> = ENDPOINTS.iter().map(|(path, _)| path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), ENDPOINTS.len());
    }
}
