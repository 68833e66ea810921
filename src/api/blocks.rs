//! Blocks (a user is cut off from the service) and blacklists (a user does not take another's messages).

use super::{
    endpoint::{Context, Endpoint, Outcome, surprising},
    error::ApiError,
    params::Params,
    reply::Fields,
    time::datetime,
};
use crate::{
    model::{Stamp, UserKey},
    relay::{Answer, Command, Directive},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most minutes of a block: 30 days.
const MAX_MINUTES: u64 = 43_200;
/// Largest page of a list.
const MAX_PAGE: u64 = 1_000;
/// In whose name the app's own questions are asked.
const ASKER: &str = "__system__";

/// `user/block`: cuts a user off for some minutes.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    user: UserKey,
    minutes: u64,
}

impl Endpoint for Block {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            user: params.user(app, "userId")?,
            minutes: params.number("minute", 1..=MAX_MINUTES)?.ok_or_else(|| ApiError::missing("minute"))?,
        })
    }

    async fn run(self, context: Context) -> Outcome {
        let until = Stamp(context.hub.now().0 + self.minutes * 60_000_000);
        let command = Command::Direct(Directive::Block { until });
        context.ask(self.user, command).await?;
        Ok(Fields::none())
    }
}

/// `user/unblock`: lets users in again.
#[derive(Debug, PartialEq)]
pub(super) struct Unblock {
    users: Vec<Arc<str>>,
}

impl Endpoint for Unblock {
    fn parse(_app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let users = params.ids("userId", 1_000)?;
        Ok(Self { users })
    }

    async fn run(self, context: Context) -> Outcome {
        let commands = self
            .users
            .iter()
            .map(|id| Ok((context.user("userId", id)?, Command::Direct(Directive::Unblock))))
            .collect::<Result<_, ApiError>>()?;
        context.tell_all(commands).await
    }
}

/// `user/block/query`: who is cut off, latest end first.
#[derive(Debug, PartialEq)]
pub(super) struct BlockQuery {
    skip: usize,
    size: usize,
}

impl Endpoint for BlockQuery {
    fn parse(_app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let page = params.number("page", 1..=u64::from(u32::MAX))?;
        let size = params.number("size", 1..=MAX_PAGE)?;
        Ok(match page {
            Some(page) => {
                let size = size.unwrap_or(50);
                Self { skip: ((page - 1) * size) as usize, size: size as usize }
            }
            None => Self { skip: 0, size: size.unwrap_or(MAX_PAGE) as usize },
        })
    }

    async fn run(self, context: Context) -> Outcome {
        let asker = context.user("userId", ASKER)?;
        match context.ask(asker, Command::Blocked).await? {
            Answer::Blocked(all) => Ok(self.page(&all, context.options.utc_offset)),
            other => Err(surprising(&other)),
        }
    }
}

impl BlockQuery {
    fn page(&self, all: &[(UserKey, Stamp)], offset: i32) -> Fields {
        let users: Vec<Value> = all
            .iter()
            .skip(self.skip)
            .take(self.size)
            .map(|(user, until)| json!({"userId": user.id(), "blockEndTime": datetime(*until, offset)}))
            .collect();
        Fields::none().with("users", users)
    }
}

/// Whose blacklist, and who is meant.
#[derive(Debug, PartialEq)]
struct Blacklisting {
    user: UserKey,
    others: Vec<Arc<str>>,
}

impl Blacklisting {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Ok(Self { user: params.user(app, "userId")?, others: params.ids("blackUserId", 20)? })
    }

    async fn tell(self, context: Context, command: fn(Arc<str>) -> Command) -> Outcome {
        let commands = self.others.into_iter().map(|other| (self.user.clone(), command(other))).collect();
        context.tell_all(commands).await
    }
}

/// `user/blacklist/add`.
#[derive(Debug, PartialEq)]
pub(super) struct BlacklistAdd(Blacklisting);

impl Endpoint for BlacklistAdd {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Blacklisting::parse(app, params).map(Self)
    }

    async fn run(self, context: Context) -> Outcome {
        self.0.tell(context, Command::Block).await
    }
}

/// `user/blacklist/remove`.
#[derive(Debug, PartialEq)]
pub(super) struct BlacklistRemove(Blacklisting);

impl Endpoint for BlacklistRemove {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        Blacklisting::parse(app, params).map(Self)
    }

    async fn run(self, context: Context) -> Outcome {
        self.0.tell(context, Command::Unblock).await
    }
}

/// `user/blacklist/query`: a page of a blacklist, newest first.
#[derive(Debug, PartialEq)]
pub(super) struct BlacklistQuery {
    user: UserKey,
    after: Option<PageToken>,
    size: usize,
}

/// Where a page starts: after this user, who stood at this place (counted from 1). The list may have changed since: the
/// user is looked for first, the place counts when he is gone.
#[derive(Debug, PartialEq)]
struct PageToken {
    place: usize,
    user: String,
}

impl Endpoint for BlacklistQuery {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let user = params.user(app, "userId")?;
        let after = match params.text("pageToken")? {
            None => None,
            Some(text) => Some(
                text.split_once('.')
                    .and_then(|(place, user)| {
                        let place = place.parse().ok()?;
                        let user = user.to_owned();
                        Some(PageToken { place, user })
                    })
                    .ok_or_else(|| ApiError::parameter("pageToken", "is not one of this service"))?,
            ),
        };
        let size = params.number("size", 1..=MAX_PAGE)?.unwrap_or(MAX_PAGE) as usize;
        Ok(Self { user, after, size })
    }

    async fn run(self, context: Context) -> Outcome {
        match context.ask(self.user.clone(), Command::Blacklist).await? {
            Answer::Users(all) => Ok(self.page(&all)),
            other => Err(surprising(&other)),
        }
    }
}

impl BlacklistQuery {
    fn page(&self, all: &[Arc<str>]) -> Fields {
        let from = self.after.as_ref().map_or(0, |token| {
            all.iter().position(|user| **user == *token.user).map_or(token.place, |at| at + 1)
        });
        let rest = all.get(from..).unwrap_or_default();
        let page = &rest[..rest.len().min(self.size)];
        let users: Vec<&str> = page.iter().map(|user| &**user).collect();
        let fields = Fields::none().with("users", users);
        match page.last() {
            Some(last) if page.len() < rest.len() => {
                fields.with("next", format!("{}.{last}", from + page.len()))
            }
            _ => fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        body::{Encoding, decode},
        error::Code,
    };

    fn parse<E: Endpoint>(body: &str) -> Result<E, ApiError> {
        E::parse("app", &decode(Encoding::Form, body.as_bytes()).unwrap())
    }

    fn code<E: Endpoint>(body: &str) -> Code {
        parse::<E>(body).err().unwrap().code
    }

    #[test]
    fn blocks_last_from_a_minute_to_thirty_days() {
        assert_eq!(parse::<Block>("userId=a&minute=43200").unwrap().minutes, 43_200);
        assert_eq!(code::<Block>("userId=a"), Code::Missing);
        for minute in ["0", "43201", "undefined", "-1"] {
            assert_eq!(code::<Block>(&format!("userId=a&minute={minute}")), Code::Parameter);
        }
        let long = "x".repeat(256);
        assert_eq!(code::<Block>(&format!("userId={long}&minute=10")), Code::TooLong);
        assert_eq!(code::<Unblock>(&format!("userId={}", &long[..70])), Code::TooLong);
    }

    #[test]
    fn pages_of_blocks_start_at_one() {
        let ids: Vec<_> =
            (0..60).map(|i| (UserKey::new("app", &format!("u{i}")).unwrap(), Stamp(0))).collect();
        let first = |body: &str| {
            let fields = parse::<BlockQuery>(body).unwrap().page(&ids, 480);
            let users = fields.get("users").unwrap().as_array().unwrap().clone();
            (users.len(), users.first().map(|user| user["userId"].clone()))
        };
        assert_eq!(first(""), (60, Some("u0".into())));
        assert_eq!(first("page=1"), (50, Some("u0".into())));
        assert_eq!(first("page=2"), (10, Some("u50".into())));
        assert_eq!(first("page=3&size=7"), (7, Some("u14".into())));
        assert_eq!(first("page=4000000000&size=1000"), (0, None));
        assert_eq!(code::<BlockQuery>("page=0"), Code::Parameter);
        let end = parse::<BlockQuery>("size=1").unwrap().page(&ids, 0);
        assert_eq!(end.get("users").unwrap()[0]["blockEndTime"], "1970-01-01 00:00:00");
    }

    #[test]
    fn blacklisting_needs_both_sides() {
        assert_eq!(code::<BlacklistAdd>("userId=a"), Code::Missing);
        assert_eq!(code::<BlacklistRemove>("userId=a&blackUserId="), Code::Missing);
        assert_eq!(code::<BlacklistQuery>("size=1"), Code::Missing);
        let many = "blackUserId=b&".repeat(21) + "userId=a";
        assert_eq!(code::<BlacklistAdd>(&many), Code::Parameter);
    }

    #[test]
    fn pages_of_a_blacklist_follow_each_other() {
        let all: Vec<Arc<str>> = (0..5).map(|i| format!("u.{i}").into()).collect();
        let page = |body: &str, all: &[Arc<str>]| {
            let fields = parse::<BlacklistQuery>(body).unwrap().page(all);
            let next = fields.get("next").map(|next| next.as_str().unwrap().to_owned());
            (fields.get("users").unwrap().clone(), next)
        };
        let (users, next) = page("userId=a&size=2", &all);
        assert_eq!((users, next.as_deref()), (json!(["u.0", "u.1"]), Some("2.u.1")));
        let (users, next) = page("userId=a&size=2&pageToken=2.u.1", &all);
        assert_eq!((users, next.as_deref()), (json!(["u.2", "u.3"]), Some("4.u.3")));
        let (users, next) = page("userId=a&size=2&pageToken=4.u.3", &all);
        assert_eq!((users, next), (json!(["u.4"]), None));
        // One was put in front meanwhile.
        let grown: Vec<Arc<str>> = std::iter::once("new".into()).chain(all.iter().cloned()).collect();
        assert_eq!(page("userId=a&size=1&pageToken=2.u.1", &grown).0, json!(["u.2"]));
        // The user is gone.
        assert_eq!(page("userId=a&size=1&pageToken=2.gone", &all).0, json!(["u.2"]));
        assert_eq!(page("userId=a&pageToken=99.gone", &all).0, json!([]));
        assert_eq!(code::<BlacklistQuery>("userId=a&pageToken=x"), Code::Parameter);
    }
}
