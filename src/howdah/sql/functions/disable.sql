create or replace function howdah.disable(kind text, reason text default null) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  perform howdah.known_kind(disable.kind);
  update howdah.kind k
     set disabled_at = coalesce(k.disabled_at, howdah.now()), disabled_by = session_user, disabled_reason = disable.reason
   where k.name = disable.kind;
end
$$;
comment on function howdah.disable(text, text) is
  'Start no task of this kind, anywhere, until it is enabled. Running attempts go on; enqueueing goes on. Error HW001 unknown kind.';
